"""The root command: `ucloud NOUN VERB`, and the older flat form `ucloud NOUN-VERB`."""

from importlib.metadata import version

import click

from ucloud_cli.host import host
from ucloud_cli.image import image
from ucloud_cli.options import root_options
from ucloud_cli.vm import vm


class Root(click.Group):
    """Finds `vm-create` as `vm create`."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, nested or flat."""
        command = super().get_command(ctx, cmd_name)
        noun, hyphen, verb = cmd_name.partition("-")
        group = super().get_command(ctx, noun) if command is None and hyphen else None
        return group.get_command(ctx, verb) if isinstance(group, click.Group) else command


@click.group(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Flat names work too: ucloud vm-create, ucloud image-list.",
)
@click.version_option(version("ucloud"), prog_name="ucloud")
@root_options
def cli() -> None:
    """ucloud: virtual machines, their hosts and their images."""


for noun in (vm, host, image):
    cli.add_command(noun)
