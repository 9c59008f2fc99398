"""What is wrong with the cloud."""

from typing import Annotated, Literal

from pydantic import Field

from ucloud_api.models.shared import In, Out


class FindingOut(Out):
    """Something that is not as it should be."""

    code: Annotated[str, Field(description="What kind of finding it is.")]
    severity: Annotated[Literal["ERROR", "WARNING"], Field(description="ERROR: something does not work.")]
    thing: Annotated[str, Field(description="The key or the name of what it is about.")]
    sentence: str
    advice: Annotated[str, Field(description="What to do.")]
    can_be_mended: Annotated[bool, Field(description="POST mends it.")]
    mended: bool


class Diagnosis(Out):
    """All findings, the worst first."""

    items: tuple[FindingOut, ...]


class Mend(In):
    """What to mend."""

    codes: Annotated[tuple[str, ...], Field(max_length=100, description="Codes of findings; none: all.")] = ()
