"""Options that plug VMs into networks, and what their guests are given."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ucloud_cli.errors import CliError, Misused
from ucloud_cli.kind import complete_names
from ucloud_cli.kinds import NETWORK, SECURITY_GROUP
from ucloud_cli.options import Session
from ucloud_cli.problems import Resource

F = TypeVar("F", bound=Callable[..., Any])
WORDS = ("ipv4", "ipv4=", "ipv6=", "group=", "prefixes=")


class Plug(click.ParamType["Resource"]):
    """A network, and what a VM has there: NAME,ipv4,ipv6=ADDRESS,group=GROUP,prefixes=N."""

    name = "network"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Resource:
        """The port as the API takes it; whether there is such a network is the API's to judge."""
        if isinstance(value, dict):
            return value
        network, *words = str(value).split(",")
        if not network or "=" in network:
            self.fail(f'"{value}" does not begin with the name of a network', param, ctx)
        port: Resource = {"network": network}
        for word in words:
            what, equals, wanted = word.partition("=")
            match what:
                case "ipv4":
                    port["ipv4"] = wanted if equals else True
                case "ipv6" if wanted:
                    port["ipv6"] = wanted
                case "group" if wanted:
                    port.setdefault("security_groups", []).append(wanted)
                case "prefixes" if wanted.isdecimal():
                    port["prefixes"] = int(wanted)
                case _:
                    self.fail(f'"{word}" is none of {", ".join(WORDS)}', param, ctx)
        return port

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """The networks that begin so; behind a comma the words, and the security groups."""
        before, comma, last = incomplete.rpartition(",")
        if not comma:
            found = complete_names(NETWORK)(ctx, param, last)
        elif last.startswith("group="):
            groups = complete_names(SECURITY_GROUP)(ctx, param, last.removeprefix("group="))
            found = [f"group={name}" for name in groups]
        else:
            found = [word for word in WORDS if word.startswith(last)]
        return [click.shell_completion.CompletionItem(f"{before}{comma}{each}") for each in found]


PLUG = Plug()
PLUG_METAVAR = "NAME[,ipv4][,group=NAME]..."


def complete_ssh_keys(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of the caller's ssh keys that begin so."""
    try:
        client = context.ensure_object(Session).hasty_client()
        items = client.get(f"/v1/user/{client.get('/v1/session')['user']}/ssh-key")["items"]
    except (click.ClickException, KeyError):
        return []
    return [each["name"] for each in items if each["name"].startswith(incomplete)]


def guest_options(command: F) -> F:
    """What a guest is given, from `--network` to `--seed-disk`, under the names that `guest_of` knows."""
    options: tuple[Callable[[F], F], ...] = (
        click.option("--seed-disk", is_flag=True, help="It is told all that on a disk, too: cloud-init's NoCloud."),
        click.option("--hostname", help="What its guest calls itself.  [default: as the VM]"),
        click.option("--user-data", metavar="FILE", help='What its guest may read at boot; "-" is standard input.'),
        click.option("--no-ssh-keys", is_flag=True, help="It lets nobody in by ssh key."),
        click.option(
            "--ssh-key",
            "ssh_keys",
            multiple=True,
            metavar="NAME|@FILE",
            shell_complete=complete_ssh_keys,
            help="Whom its guest lets in; may be said many times.  [default: all your keys]",
        ),
        click.option(
            "--network",
            "networks",
            type=PLUG,
            multiple=True,
            metavar=PLUG_METAVAR,
            help=f"Plug it into a network, with {', '.join(WORDS)}; may be said many times.",
        ),
    )
    for option in options:
        command = option(command)
    return command


def guest_of(wanted: dict[str, Any]) -> Resource:
    """The body's fields for what these options said; nothing for what was left out."""
    if wanted["no_ssh_keys"] and wanted["ssh_keys"]:
        raise click.UsageError("say --ssh-key or --no-ssh-keys, not both")
    named = [read_text(each[1:]) if each.startswith("@") else each for each in wanted["ssh_keys"]]
    said = {
        "networks": list(wanted["networks"]) or None,
        "ssh_keys": [] if wanted["no_ssh_keys"] else named or None,
        "user_data": read_text(wanted["user_data"]) if wanted["user_data"] else None,
        "hostname": wanted["hostname"],
        "seed_disk": wanted["seed_disk"] or None,
    }
    return {field: value for field, value in said.items() if value is not None}


def read_text(file: str) -> str:
    """What is in a file ("-": on standard input); Misused when it can't be read, or is no text."""
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise Misused(f"{file} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Misused(f"{file} is no text in UTF-8") from error


def port_of(vm: Resource, wanted: str) -> str:
    """The id of a VM's port that is meant by its id or its network; CliError."""
    ports = vm.get("ports", ())
    found = [port for port in ports if wanted in (port["id"], port["network"]["name"], port["network"]["uuid"])]
    if len(found) == 1:
        return str(found[0]["id"])
    there_are = ", ".join(f"{port['id']} ({port['network']['name']})" for port in found or ports) or "none"
    problem = "has several ports on" if found else "has no port"
    raise CliError(f'{vm["name"]} {problem} "{wanted}"; there are: {there_are}')
