"""A file that a user uploaded, which images can be made from."""

from datetime import datetime

from common.schemas.image import UPLOAD_NAME_PATTERN, UploadName
from common.schemas.owner import UserName
from common.schemas.record import Record

__all__ = ["UPLOAD_NAME_PATTERN", "UploadName", "UploadedFile", "UploadServer"]


class UploadedFile(Record):
    """`/v1/file/<owner>/<file>`: a file that is whole; written by the elected ucloud_image, gone with the file."""

    owner: UserName
    name: UploadName
    size_bytes: int
    sha256: str
    modified_at: datetime
    stamp: str
    """Differs where the content may; says nothing else."""


class UploadServer(Record):
    """`/v1/upload-server/<host>`: where the API brings uploads; lease-bound, written by ucloud-image-sftp there."""

    url: str
    token: str
    """What the API proves itself with; made anew at each start."""
