"""What a request costs its owner: charged in the transaction that writes it, released in the one that removes it.

Both sides stand here side by side, so that what one takes the other gives back. ucloud_api admits; the daemon that
sees the last of a thing gone releases (ucloud_scheduler for VMs, ucloud_image for images).
"""

from dataclasses import dataclass

from common import keys
from common.schemas.image import ImageRequest
from common.schemas.vm import VmRequest
from common.store import Compare, Delete, Operation, Put, absent, none_below, unchanged


@dataclass(frozen=True)
class Step:
    """A part of a transaction: what must hold, and what is then done."""

    compares: tuple[Compare, ...]
    operations: tuple[Operation, ...]


def admit_vm(request: VmRequest, image_revision: int) -> Step:
    """Write a new VM, take its name, and note that it uses its image, which must be as it was at `image_revision`."""
    name_key = keys.name(request.owner, "vm", request.name)
    return Step(
        (absent(keys.vm(request.uuid)), absent(name_key), unchanged(keys.image(request.image), image_revision)),
        (
            Put(keys.vm(request.uuid), request.to_json()),
            Put(name_key, request.uuid.encode()),
            Put(keys.image_use(request.image, request.uuid), b""),
        ),
    )


def release_vm(request: VmRequest, vm_revision: int) -> Step:
    """Remove a VM of which nothing is left, with its name and its use of the image."""
    return Step(
        (unchanged(keys.vm(request.uuid), vm_revision),),
        (
            Delete(keys.vm(request.uuid)),
            Delete(keys.name(request.owner, "vm", request.name)),
            Delete(keys.image_use(request.image, request.uuid)),
        ),
    )


def admit_image(request: ImageRequest) -> Step:
    """Write a new image and take its name."""
    name_key = keys.name(request.owner, "image", request.name)
    return Step(
        (absent(keys.image(request.uuid)), absent(name_key)),
        (Put(keys.image(request.uuid), request.to_json()), Put(name_key, request.uuid.encode())),
    )


def delete_image(request: ImageRequest, image_revision: int) -> Step:
    """Write the wish that an image be deleted (`request`), if no VM uses it."""
    return Step(
        (unchanged(keys.image(request.uuid), image_revision), none_below(keys.image_uses(request.uuid))),
        (Put(keys.image(request.uuid), request.to_json()),),
    )


def release_image(request: ImageRequest, image_revision: int) -> Step:
    """Remove an image of which nothing is left, with its name and its status."""
    return Step(
        (unchanged(keys.image(request.uuid), image_revision), none_below(keys.image_uses(request.uuid))),
        (
            Delete(keys.image(request.uuid)),
            Delete(keys.name(request.owner, "image", request.name)),
            Delete(keys.image_status(request.uuid)),
        ),
    )
