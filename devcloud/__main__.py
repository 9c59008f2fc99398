"""python -m devcloud: start, show and end a cloud on this machine (`make up`, `make status`, `make down`)."""

import os
import time
from pathlib import Path

import click

from devcloud import first_vm
from devcloud.cloud import DEFAULT_DIRECTORY, Cloud, Shape
from devcloud.errors import DevcloudError
from devcloud.people import ADMIN, USER
from ucloud_cli.contexts import contexts_file


class _Command(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except DevcloudError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Command)
@click.option("--name", default="dev", show_default=True, help="Several clouds fit on one machine, by name.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="Where the clouds keep their data.",
)
@click.pass_context
def main(context: click.Context, name: str, directory: Path) -> None:
    """A whole cloud on this machine: etcd, all daemons, hosts that are network namespaces."""
    context.obj = (name, directory)


@main.command()
@click.option("--hosts", type=click.IntRange(1, 100), default=1, show_default=True)
@click.option("--api-port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@click.option("--ceph", is_flag=True, help="Have images and disks in a Ceph, not in a directory.")
@click.option("--vm/--no-vm", default=True, show_default=True, help="Import an image and boot a first VM from it.")
@click.pass_obj
def up(place: tuple[str, Path], hosts: int, api_port: int, ceph: bool, vm: bool) -> None:
    """Start what does not run yet, and boot a first VM."""
    started = time.monotonic()
    name, directory = place
    shape = Shape(hosts=hosts, networks=True, ceph=ceph, api_address="::1", api_port=api_port)
    cloud = Cloud(name, shape, directory)
    cloud.up(lambda what: click.echo(f"==> {what}"))
    if vm:
        first_vm.boot(cloud, lambda what: click.echo(f"==> {what}"))
    logged_in = cloud.people.lend(contexts_file(os.environ), cloud.name)
    address = first_vm.address(cloud) if vm else ""
    text = _how_to_go_on(cloud, logged_in, address)
    click.echo(f"\nThe cloud is up, {time.monotonic() - started:.0f} s. To go on:\n\n{text}")


def _how_to_go_on(cloud: Cloud, logged_in: bool, address: str) -> str:
    if logged_in:
        who = f"  You are logged in as {USER}. As {ADMIN}: ucloud --context {cloud.name}-admin ...\n\n"
    else:
        who = (
            f'  You have a login "{cloud.name}" at another cloud already; for this one:\n'
            f"  export UCLOUD_CONTEXT_FILE={cloud.people.contexts.path} UCLOUD_CONTEXT={USER}\n\n"
        )
    log_in = f"  ssh -i {cloud.people.ssh_key} root@{address}\n" if address else ""
    return (
        f"{who}"
        f"{log_in}"
        "  .venv/bin/ucloud vm list\n"
        "  .venv/bin/ucloud vm log first\n"
        "  .venv/bin/ucloud vm console first       # log in as root, without a password; ctrl-] ends it\n"
        f"  sftp -P 2222 -i {cloud.people.ssh_key} {USER}@[{cloud.network.control_address}]     # uploads\n"
        "  .venv/bin/ucloud vm create second --image guest --network home --cpu 1 --ram 128MiB --ssd 1\n"
        f"  .venv/bin/ucloud --context {cloud.name}-admin host list\n"
        f"  ls {cloud.services.log_directory}      # what the daemons say\n"
        "  make status\n"
        "  make down\n"
    )


@main.command()
@click.pass_obj
def down(place: tuple[str, Path]) -> None:
    """End the cloud with its VMs and remove every trace of it."""
    cloud = Cloud(place[0], directory=place[1])
    if not cloud.exists():
        click.echo(f"there is no cloud {cloud.name!r} here")
        return
    started = time.monotonic()
    cloud.people.take_back()
    cloud.down()
    click.echo(f"cloud {cloud.name!r} is gone, {time.monotonic() - started:.1f} s. To start it again: make up")


@main.command()
@click.pass_obj
def status(place: tuple[str, Path]) -> None:
    """Show the programs of the cloud; exit code 1 when one of them does not run."""
    cloud = Cloud(place[0], directory=place[1])
    if cloud.services.pid() is None:
        raise click.ClickException(f"cloud {cloud.name!r} does not run: make up")
    states = cloud.services.states()
    for program, (state, pid) in states.items():
        click.echo(f"{program:24} {state:10} {pid or '':>8}  {cloud.services.log(program)}")
    if any(state != "RUNNING" for state, _ in states.values()):
        raise SystemExit(1)


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def enter(place: tuple[str, Path], host: str, command: tuple[str, ...]) -> None:
    """Run a command on a host, say h1: in its namespaces, with its libvirt."""
    number = host.removeprefix("h")
    if not number.isdigit():
        raise click.ClickException(f"{host!r} is no host: they are called h1, h2 ...")
    cloud = Cloud(place[0], Shape(hosts=int(number)), place[1])
    if not cloud.hosts[-1].settings_file.exists():
        raise click.ClickException(f"cloud {cloud.name!r} has no host {host!r}")
    arguments = cloud.enter(host, *command)
    os.execve(arguments[0], arguments, os.environ | cloud.env(host))  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(prog_name="python -m devcloud")
