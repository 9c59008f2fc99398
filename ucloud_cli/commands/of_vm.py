"""What the commands for parts of a VM, its disks and snapshots, have in common."""

from collections.abc import Callable
from typing import Any

import click

from ucloud_cli.kind import complete_names
from ucloud_cli.kinds import VM
from ucloud_cli.options import Session

vm_argument = click.argument("name", metavar="VM", shell_complete=complete_names(VM))
"""The VM that is meant."""


def complete_parts(field: str, key: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Completes what tells apart the parts of the VM that was named before: `key` of each in its `field`."""

    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            found = VM.find(context.ensure_object(Session).hasty_client(), context.params["name"])
        except (click.ClickException, KeyError):
            return []
        parts: list[dict[str, Any]] = found.get(field, [])
        return [each[key] for each in parts if each[key].startswith(incomplete)]

    return complete
