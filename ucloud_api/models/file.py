"""Uploaded files, and uploads under way."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from common.schemas.image import UploadName
from common.schemas.owner import UserName
from ucloud_api.models.shared import In, Out

_FILE_NAME = "1 to 255 letters, digits, dots, hyphens and underscores, no dot or hyphen first."
_OWNER = "The owner: 1 to 63 lower-case letters, digits, dots, hyphens and underscores."


class FilePath(In):
    """The path of a file."""

    owner: Annotated[UserName, Field(description=_OWNER)]
    name: Annotated[UploadName, Field(description=_FILE_NAME)]


class FileQuery(In):
    """Which files to list."""

    owner: Annotated[UserName | None, Field(description="Only what this owner has.")] = None
    limit: Annotated[int, Field(ge=1, le=1000, description="At most so many: 1 to 1000.")] = 1000
    cursor: Annotated[
        str | None, Field(pattern=r"^[0-9]{1,18}$", description="The `next_cursor` of the page before this one.")
    ] = None


class File(Out):
    """A file that is whole, and that an image can be made from."""

    owner: str
    name: str
    size_bytes: int
    sha256: Annotated[str, Field(description="In hexadecimal.")]
    modified_at: datetime


class FileList(Out):
    """A page of files, in the order in which they were found."""

    items: tuple[File, ...]
    next_cursor: Annotated[str | None, Field(description="The cursor of the next page; null: there is no other one.")]


class Upload(Out):
    """An upload under way."""

    owner: str
    name: str
    size_bytes: Annotated[int, Field(description="How long the file is to be.")]
    offset_bytes: Annotated[int, Field(description="How much of it came.")]
    sha256: Annotated[str | None, Field(description="The digest that was announced, in hexadecimal.")]
    is_complete: Annotated[bool, Field(description="The file is there; it is listed once its digest was taken.")]
