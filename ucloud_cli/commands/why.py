"""The command `vm why`: why a VM is as it is."""

import click

from ucloud_cli.kind import name_argument
from ucloud_cli.kinds import VM
from ucloud_cli.options import Session, pass_session, shared_options
from ucloud_cli.output import print_data, printable


@click.command()
@name_argument(VM)
@shared_options
@pass_session
def why(session: Session, name: str) -> None:
    """Say why a VM is as it is: where it is and why there, and what it waits for."""
    found = VM.find(session.client, name)
    told = session.client.get(f"{VM.path_of(found)}/why")
    if session.layout.is_data:
        print_data(told, session.layout.how)
        return
    for line in told["lines"]:
        click.echo(printable(line))
