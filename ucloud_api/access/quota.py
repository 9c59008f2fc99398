"""Quotas, and what is used of them: from and to what users read and write."""

from common import keys
from common.schemas.size import format_size
from common.schemas.user import Amounts, Charge, Quota
from ucloud_api import models
from ucloud_api.worker.state import State

_GIB = 1024
DEFAULT_QUOTA = Quota(vms=10, cpu=20, ram_mib=64 * _GIB, ssd_mib=500 * _GIB, hdd_mib=2000 * _GIB)
"""Of a new user, and of a new project."""
_SIZES = {"ram": "ram_mib", "ssd": "ssd_mib", "hdd": "hdd_mib"}


def quota_resource(amounts: Amounts) -> models.Quota:
    """Amounts as they are shown."""
    sizes = {name: format_size(getattr(amounts, field)) for name, field in _SIZES.items()}
    counts = amounts.model_dump(include={"vms", "cpu", "networks", "security_groups"})
    return models.Quota.model_validate(counts | sizes)


def quota_of(wanted: models.QuotaIn | None, base: Quota) -> Quota | None:
    """The quota as it is to be: what is not said stays as in `base`."""
    if wanted is None:
        return None
    said = {_SIZES.get(name, name): amount for name, amount in wanted.model_dump(exclude_none=True).items()}
    return base.model_copy(update=said)


def use_of_all(state: State) -> dict[str, Amounts]:
    """What is charged to each owner."""
    used: dict[str, Amounts] = {}
    for entry in state.store.list(keys.CHARGE).entries:
        owner = entry.key.split("/")[-2]
        used[owner] = used.get(owner, Amounts()) + Charge.read(entry.key, entry.value).amounts
    return used
