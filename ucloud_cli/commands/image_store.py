"""The commands for image stores."""

import click

from ucloud_cli.groups import Group
from ucloud_cli.options import Session, pass_session, shared_options, table_options
from ucloud_cli.output import Column, Columns, local_time, print_list, size
from ucloud_cli.problems import Resource


def _space(space: Resource | None) -> str:
    """How much is free, and how much there is: "5 GiB/20 GiB"; nothing for who is not to know."""
    if space is None:
        return ""
    return f"{'?' if space['free'] is None else size(space['free'])}/{size(space['total'])}"


_COLUMNS: Columns = {
    "NAME": Column(lambda store: store["name"]),
    "KIND": Column(lambda store: store["kind"]),
    "HOSTS": Column(lambda store: store["hosts"]),
    "IMAGES": Column(lambda store: store["images"]),
    "FREE SSD": Column(lambda store: _space(store["ssd"])),
    "FREE HDD": Column(lambda store: _space(store["hdd"])),
    "SINCE": Column(lambda store: local_time(store["since"]), wide=True),
    "PROBLEM": Column(lambda store: store["problem"]),
}


@click.group("image-store", cls=Group)
def image_store() -> None:
    """Image stores: where images are, and the disks of VMs."""


@image_store.command("list")
@table_options(tuple(_COLUMNS))
@shared_options
@pass_session
def list_stores(session: Session) -> None:
    """List image stores; how large they are is for admins."""
    session.layout.check(_COLUMNS)
    print_list(session.client.get("/v1/image-store")["items"], _COLUMNS, session.layout)
