"""Groups of commands: their short and flat names."""

import click

_SHORT = {"ls": "list", "rm": "delete"}
_MOST_HOMES = 2
"""A word that more nouns have is a verb of most of them, and says nothing of what was meant."""


class Group(click.Group):
    """A noun's verbs; `ls` and `rm` are `list` and `delete`, and what is nested is found flat, too."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, whole, short or flat."""
        return super().get_command(ctx, _SHORT.get(cmd_name, cmd_name)) or _flat(self, ctx, cmd_name)


class Root(click.Group):
    """All nouns; finds `vm-create` as `vm create`, and says where `disk` is."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, nested or flat."""
        return super().get_command(ctx, cmd_name) or _flat(self, ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant; UsageError where there is none, with the nouns that have one of that name."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            homes = [
                f"'{noun} {args[0]}'"
                for noun, nested in self.commands.items()
                if isinstance(nested, click.Group) and args[0] in nested.commands
            ]
            if 0 < len(homes) <= _MOST_HOMES:
                raise click.UsageError(f"{error.format_message()} There is {' and '.join(homes)}.", ctx) from error
            raise


def _flat(group: click.Group, ctx: click.Context, name: str) -> click.Command | None:
    """`security-group-rule-add` is `security-group rule add`: a hyphen may stand for each space."""
    for noun, nested in group.commands.items():
        if isinstance(nested, click.Group) and name.startswith(f"{noun}-"):
            found = nested.get_command(ctx, name.removeprefix(f"{noun}-"))
            if found:
                return found
    return None
