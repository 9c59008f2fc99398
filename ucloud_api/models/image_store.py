"""Image stores as they are shown."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from ucloud_api.models.shared import Out, SizeOut

_FOR_ADMINS = "For admins; null for others, and where there is none."


class StoreSpace(Out):
    """How large a store is."""

    total: SizeOut
    free: Annotated[SizeOut | None, Field(description="About how much more it takes; null where that is not known.")]


class ImageStore(Out):
    """Where images are kept, and the disks of the VMs that are made from them."""

    name: str
    kind: Annotated[str, Field(description="directory or rbd.")]
    hosts: Annotated[int, Field(description="How many hosts have it.")]
    images: Annotated[int, Field(description="How many images are in it.")]
    ssd: Annotated[StoreSpace | None, Field(description=_FOR_ADMINS)]
    hdd: Annotated[StoreSpace | None, Field(description=_FOR_ADMINS)]
    problem: Annotated[str, Field(description="Why it can't be used now; empty: it can.")]
    since: Annotated[datetime, Field(description="When `problem` became what it is.")]


class ImageStoreList(Out):
    """All image stores, by name."""

    items: tuple[ImageStore, ...]
