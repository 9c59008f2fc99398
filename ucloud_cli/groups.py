"""Groups of commands: their short and flat names."""

import click

_SHORT = {"ls": "list", "rm": "delete"}


class Group(click.Group):
    """A noun's verbs; `ls` and `rm` are `list` and `delete`."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, whole or short."""
        return super().get_command(ctx, _SHORT.get(cmd_name, cmd_name))


class Root(click.Group):
    """All nouns; finds `vm-create` as `vm create`."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, nested or flat."""
        command = super().get_command(ctx, cmd_name)
        noun, hyphen, verb = cmd_name.partition("-")
        group = super().get_command(ctx, noun) if command is None and hyphen else None
        return group.get_command(ctx, verb) if isinstance(group, click.Group) else command
