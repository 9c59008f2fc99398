"""`vm watch`: VMs as they change; a table that lives on a terminal, a line per change elsewhere. Nothing polls."""

import json
import queue
import sys
from collections.abc import Sequence
from datetime import datetime

import click
import yaml
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ucloud_cli.errors import ApiAway
from ucloud_cli.kind import complete_names, filter_options
from ucloud_cli.kinds import VM
from ucloud_cli.options import Session, pass_session, shared_options, table_options
from ucloud_cli.output import Fields, Layout, list_table, note
from ucloud_cli.problems import Resource
from ucloud_cli.stream import Follower, Gone, News, Reset, Told, Trouble

_SPARE_LINES = 3
_COLUMN_GAP = 2
_LEAST_REASON = 24
_DISPENSABLE = ("CHANGED", "CREATED", "UUID", "IMAGE", "HDD", "SSD", "RAM", "CPU", "ADDRESSES", "REQUESTED", "OWNER")


@click.command()
@click.argument("name", required=False, shell_complete=complete_names(VM))
@filter_options(VM)
@table_options(tuple(VM.columns))
@shared_options
@pass_session
def watch(session: Session, /, name: str | None, **filters: str | None) -> None:
    """Show VMs, or the one called NAME, as they change; ctrl-c ends it."""
    session.layout.check(VM.columns)
    if name and any(filters.values()):
        raise click.UsageError("say a NAME or what to narrow the list by, not both")
    only = VM.find(session.client, name) if name else None
    if not only and not filters["owner"]:
        filters["owner"] = session.client.owner or None
    follower = Follower(session.client, VM.path_of(only) if only else VM.path, **filters)
    live = sys.stdout.isatty() and not session.layout.is_data
    try:
        if live:
            _show_table(follower, session.layout, only)
        else:
            _Lines(session.layout).show(follower, only)
    except KeyboardInterrupt:
        pass  # which is how one ends it
    finally:
        follower.close()


class Known:
    """The VMs that were told of and are there still."""

    def __init__(self, only: Resource | None) -> None:
        self._only = only["uuid"] if only else ""
        self.vms: dict[str, Resource] = {}
        self.trouble = ""
        self.is_over = False

    def hear(self, news: News) -> Resource | None:
        """Take notice; returns the VM that is gone, if one is."""
        self.trouble = ""
        match news:
            case Told(vm):
                self.vms[vm["uuid"]] = vm
            case Gone(uuid):
                self.is_over = bool(self._only)
                return self.vms.pop(uuid or self._only, None)
            case Reset():
                self.vms.clear()
            case Trouble(ApiAway() as error):
                self.trouble = error.message
            case Trouble(error):
                raise error
        return None


def _show_table(follower: Follower, layout: Layout, only: Resource | None) -> None:
    known = Known(only)
    console = Console()
    with Live(console=console, auto_refresh=False) as live:
        while not known.is_over:
            known.hear(follower.news.get())
            while not known.is_over:
                try:
                    known.hear(follower.news.get_nowait())
                except queue.Empty:
                    break
            live.update(picture(known, layout, console), refresh=True)
    if only:
        click.echo(f"{only['name']} is deleted")


def picture(known: Known, layout: Layout, console: Console) -> Group:
    """As much of the table as the terminal has lines and columns for."""
    vms = layout.order(list(known.vms.values()), VM.columns)
    most = max(1, console.height - _SPARE_LINES)
    chosen: Fields = layout.choose(VM.columns)
    if not layout.columns:
        chosen = _fit(chosen, vms[:most], console.width)
    table = list_table(vms[:most], chosen, layout.header)
    below = [f"and {len(vms) - most} more"] if len(vms) > most else []
    below += [known.trouble] if known.trouble else []
    return Group(table, *[Text(line, style="dim") for line in below])


def _fit(chosen: Fields, vms: Sequence[Resource], width: int) -> Fields:
    """The columns that fit into a line: what can best be done without goes first, and a reason is cut short."""
    fitting = dict(chosen)
    widths = {
        title: max([len(title), *[len(str(look(vm))) for vm in vms]]) + _COLUMN_GAP for title, look in chosen.items()
    }
    reason_width = widths.get("REASON", 0)
    widths["REASON"] = min(reason_width, _LEAST_REASON)
    for title in _DISPENSABLE:
        if sum(widths[each] for each in fitting) <= width:
            break
        fitting.pop(title, None)
    if "REASON" in fitting:
        left = max(0, width - sum(widths[each] for each in fitting if each != "REASON"))
        fitting["REASON"] = lambda vm: _cut(str(chosen["REASON"](vm)), left)
    return fitting


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}\N{HORIZONTAL ELLIPSIS}"


class _Lines:
    """A line for each change."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._widths: dict[str, int] = {}

    def show(self, follower: Follower, only: Resource | None) -> None:
        """Print until there is nothing more to follow."""
        known = Known(only)
        said = ""
        while not known.is_over:
            news = follower.news.get()
            gone = known.hear(news)
            if isinstance(news, Told):
                self._print(news.resource)
            elif gone is not None:
                self._print_gone(gone)
            if known.trouble not in ("", said):
                note(known.trouble)
            said = known.trouble

    def _print(self, vm: Resource) -> None:
        if self._layout.is_data:
            self._print_data(vm)
            return
        words = []
        for title, look in self._layout.choose(VM.columns).items():
            text = str(look(vm))
            self._widths[title] = max(self._widths.get(title, len(title)), len(text))
            words.append(text.ljust(self._widths[title]))
        click.echo(f"{_now()}  {'  '.join(words)}".rstrip())

    def _print_gone(self, vm: Resource) -> None:
        if self._layout.is_data:
            self._print_data({"uuid": vm["uuid"], "name": vm["name"], "deleted": True})
        else:
            click.echo(f"{_now()}  {vm['name']} is deleted")

    def _print_data(self, data: Resource) -> None:
        if self._layout.how == "json":
            click.echo(json.dumps(data))
        else:
            click.echo(yaml.safe_dump(data, sort_keys=False, explicit_start=True, allow_unicode=True), nl=False)


def _now() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")
