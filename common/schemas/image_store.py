"""An image store: where images are kept, and the disks of the VMs that are made from them."""

from datetime import datetime

from common.schemas.host import StoreCapacity
from common.schemas.image import StoreName
from common.schemas.record import Record


class ImageStoreStatus(Record):
    """`/v1/status/image-store/<name>`, written by the store's elected ucloud_image.

    Nobody requests a store: it is there when a ucloud_image was set up for it. Hosts say which one they have.
    """

    name: StoreName
    kind: str
    """ "directory" or "rbd"."""
    ssd: StoreCapacity | None = None
    hdd: StoreCapacity | None = None
    images: int = 0
    """How many are in it."""
    problem: str = ""
    """Why it can't be used, and since then the rest is what was last known of it; empty: it can."""
    since: datetime
    """When `problem` became what it is."""
