"""Groups of commands: their short and flat names."""

import click

_SHORT = {"ls": "list", "rm": "delete"}


class Group(click.Group):
    """A noun's verbs; `ls` and `rm` are `list` and `delete`, and what is nested is found flat, too."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, whole, short or flat."""
        return super().get_command(ctx, _SHORT.get(cmd_name, cmd_name)) or _flat(self, ctx, cmd_name)


class Root(click.Group):
    """All nouns; finds `vm-create` as `vm create`."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, nested or flat."""
        return super().get_command(ctx, cmd_name) or _flat(self, ctx, cmd_name)


def _flat(group: click.Group, ctx: click.Context, name: str) -> click.Command | None:
    """`security-group-rule-add` is `security-group rule add`: a hyphen may stand for each space."""
    for noun, nested in group.commands.items():
        if isinstance(nested, click.Group) and name.startswith(f"{noun}-"):
            found = nested.get_command(ctx, name.removeprefix(f"{noun}-"))
            if found:
                return found
    return None
