"""The commands that move VMs: one of them, all of a host, or those that would make hosts equally full; for admins."""

import threading
import time
from collections.abc import Callable
from operator import itemgetter

import click

from ucloud_cli.errors import ApiAway, CliError, Interrupted
from ucloud_cli.goals import move_goal
from ucloud_cli.kind import complete_names, finish, name_argument, print_result
from ucloud_cli.kinds import HOST, VM
from ucloud_cli.options import Session, pass_session, shared_options, table_options, wait_options
from ucloud_cli.output import Column, Columns, note, print_list
from ucloud_cli.problems import Resource
from ucloud_cli.wait import progress

_LOOK_S = 1.0
_PLANNED: Columns = {
    "VM": Column(itemgetter("name")),
    "UUID": Column(itemgetter("vm"), wide=True),
    "OWNER": Column(itemgetter("owner")),
    "FROM": Column(itemgetter("source")),
    "TO": Column(itemgetter("to")),
    "WHY": Column(itemgetter("why")),
}


@click.command()
@name_argument(VM)
@click.option("--to", metavar="HOST", shell_complete=complete_names(HOST), help="Where to.  [default: what suits best]")
@click.option("--cold", is_flag=True, help="Shut the guest down for it, and start it there.")
@click.option("--cancel", is_flag=True, help="Have it stay where it is, if it has not left yet.")
@wait_options
@shared_options
@pass_session
def migrate(session: Session, /, name: str, to: str | None, cold: bool, cancel: bool, wait_s: float | None) -> None:
    """Move a VM to another host, while it runs if that can be; for admins."""
    if cancel and (to or cold):
        raise click.UsageError("--cancel goes with neither --to nor --cold")
    found = VM.find(session.client, name)
    path = f"{VM.path_of(found)}/migrate"
    if cancel:
        accepted = session.client.delete(path) or found
    else:
        accepted = session.client.post(path, {**({"to": to} if to else {}), **({"cold": True} if cold else {})})
    finish(session, VM, accepted, move_goal(accepted, stays=cancel), wait_s)


@click.command()
@name_argument(HOST)
@click.option("--cold", is_flag=True, help="Shut down guests that can't leave while they run; they start elsewhere.")
@wait_options
@shared_options
@pass_session
def drain(session: Session, name: str, cold: bool, wait_s: float | None) -> None:
    """Have all VMs leave a host, and no new ones come; ctrl-c ends the waiting alone."""
    found = HOST.find(session.client, name)
    path = HOST.path_of(found)
    changed = session.client.patch(path, {"state": "draining", "drain_cold": cold})
    if wait_s is not None:
        _wait_empty(lambda: session.client.get(f"{path}/drain"), found["name"], wait_s)
        changed = session.client.get(path)
    print_result(session, HOST, changed, changed)


@click.command()
@name_argument(HOST)
@shared_options
@pass_session
def undrain(session: Session, name: str) -> None:
    """Have a host take VMs again; those that are on their way from it go on."""
    found = HOST.find(session.client, name)
    changed = session.client.patch(HOST.path_of(found), {"state": "enabled"})
    print_result(session, HOST, changed, changed)


@click.command()
@click.option("--dry-run", is_flag=True, help="Which is all that it does: the setting balance_margin has VMs moved.")
@table_options(tuple(_PLANNED))
@shared_options
@pass_session
def rebalance(session: Session, dry_run: bool) -> None:
    """Show which moves would make hosts equally full; for admins."""
    if not dry_run:
        raise click.UsageError("say --dry-run: VMs are moved by themselves where the scheduler's balance_margin is set")
    session.layout.check(_PLANNED)
    planned = session.client.get("/v1/rebalance")
    print_list(planned["moves"], _PLANNED, session.layout)
    if not session.layout.is_data:
        what = "are made" if planned["is_on"] else "are only shown: no balance_margin is set"
        note(f"with a margin of {planned['margin']:.0%}; these moves {what}")


def _wait_empty(look: Callable[[], Resource], name: str, timeout_s: float) -> None:
    """Return when nothing is left on a host. The API has no stream of hosts, so it is asked again and again."""
    deadline_s = time.monotonic() + timeout_s
    pace = threading.Event()
    left = "not looked at yet"
    try:
        with progress(name) as show:
            while time.monotonic() < deadline_s:
                try:
                    state = look()
                except ApiAway as error:
                    show(error.message)
                else:
                    if not state["vms"]:
                        return
                    left = describe_drain(state)
                    show(left)
                    if not state["is_draining"]:
                        raise CliError(f"{name}: no longer waited for: somebody ended the drain; {left}")
                pace.wait(_LOOK_S)
    except KeyboardInterrupt:
        raise Interrupted(f"{name}: no longer waited for, {left}; the drain goes on") from None
    raise CliError(f"{name}: not empty after {timeout_s:.0f} s, {left}; the drain goes on")


def describe_drain(state: Resource) -> str:
    """What is left on a host, in a line: "3 VMs left; web to h2 40 %; db: no host has 64 GiB RAM free"."""
    vms = state["vms"]
    parts = [f"{len(vms)} VM{'s' if len(vms) != 1 else ''} left"]
    parts += [f"{vm['name']} to {vm['to']} {vm['percent']} %" for vm in vms if vm["to"]]
    parts += [f"{vm['name']}: {vm['reason']}" for vm in vms if vm["reason"]]
    return "; ".join(parts)
