"""The options of quotas, which users and projects have."""

from typing import Any

import click

from ucloud_cli.kind import F
from ucloud_cli.kinds import AMOUNTS, SIZES
from ucloud_cli.options import SIZE
from ucloud_cli.problems import Resource

_HELPS = {
    "vms": "How many VMs it may have.",
    "cpu": "How many processors all of them together.",
    "ram": "How much memory: GiB, or with a unit.",
    "ssd": "How much of root disks.",
    "hdd": "How much of HDDs.",
    "networks": "How many networks.",
    "security_groups": "How many security groups.",
}


def quota_options(command: F) -> F:
    """What a quota says, each as it was, or the API's default, where it is not said."""
    command = click.option("--unlimited", is_flag=True, help="No quota at all.")(command)
    for what in reversed(AMOUNTS):
        kind = SIZE if what in SIZES else int
        command = click.option(f"--{what.replace('_', '-')}", type=kind, help=_HELPS[what])(command)
    return command


def quota_of(said: dict[str, Any]) -> Resource:
    """The body's field for what these options said; nothing where nothing is said."""
    amounts = {what: said[what] for what in AMOUNTS if said[what] is not None}
    if said["unlimited"] and amounts:
        raise click.UsageError("say --unlimited or amounts, not both")
    return {"quota": amounts or None} if said["unlimited"] or amounts else {}
