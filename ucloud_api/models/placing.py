"""Where VMs go: what their owners may say of it, and what admins say of hosts."""

from typing import Annotated

from pydantic import Field, StringConstraints, field_validator
from pydantic_core import PydanticCustomError

from common.schemas.vm import Affinity, GroupName, LabelName
from ucloud_api.models.shared import In, Out

_MOST = 16
LabelValue = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")]
_NAME = "1 to 63 lower-case letters, digits and hyphens, no hyphen at either end"
LABELS = (
    "Names of 1 to 63 lower-case letters, digits, dots, hyphens and underscores, "
    "values of 1 to 63 letters, digits, dots, hyphens and underscores"
)


class AffinityIn(In):
    """How a VM is to be placed with regard to its owner's other VMs that name the same group."""

    group: Annotated[GroupName, Field(description=f"{_NAME}.")]
    apart: Annotated[bool, Field(strict=True, description="True: on no host of the others; false: on one of theirs.")]
    hard: Annotated[bool, Field(strict=True, description="True: it rather waits than goes against it.")] = False


class Placing(In):
    """What is said of a VM with regard to where it goes; what is left out stays, or is as by default."""

    ha: Annotated[
        bool | None,
        Field(strict=True, description="True: when its host is dead, it is started on another one. By default true."),
    ] = None
    priority: Annotated[
        int | None,
        Field(
            strict=True,
            ge=0,
            le=100,
            description="Where room is short, VMs with a higher one are served first: 0 to 100, above 50 for admins "
            "only. By default 50.",
        ),
    ] = None
    affinity: Annotated[
        tuple[AffinityIn, ...] | None,
        Field(max_length=_MOST, description="Its groups. A change counts when it is placed the next time."),
    ] = None
    host_labels: Annotated[
        dict[LabelName, LabelValue] | None,
        Field(
            max_length=_MOST,
            description=f"Only hosts with all of these labels will do. {LABELS}. A change counts when it is placed "
            "the next time.",
        ),
    ] = None

    @field_validator("affinity")
    @classmethod
    def _names_each_group_once(cls, affinity: tuple[AffinityIn, ...] | None) -> tuple[AffinityIn, ...] | None:
        groups = [wish.group for wish in affinity or ()]
        if len(set(groups)) < len(groups):
            raise PydanticCustomError("twice", "names a group twice", {"allowed": "each group once"})
        return affinity

    def said(self) -> dict[str, object]:
        """What is said, as the fields of a VmRequest."""
        wishes = None if self.affinity is None else tuple(Affinity(**each.model_dump()) for each in self.affinity)
        values = {"ha": self.ha, "priority": self.priority, "affinity": wishes, "host_labels": self.host_labels}
        return {field: value for field, value in values.items() if value is not None}


class AffinityOut(Out):
    """How a VM is to be placed with regard to its owner's other VMs that name the same group."""

    group: str
    apart: bool
    hard: bool
