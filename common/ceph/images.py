"""What is done with the images of RBD, each in one call. For the process of a child: hands.py.

An image may be left in part when such a process is ended: whoever calls must know it for one that is not whole.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import rados
import rbd

from common.ceph.access import Cluster
from common.errors import TemporaryError

SNAPSHOT = "template"
"""The snapshot of a template, from which its clones are made."""

_MOST_ENTRIES = 10_000
"""What a header has; one without snapshots has some ten."""
FEATURES = (
    rbd.RBD_FEATURE_LAYERING
    | rbd.RBD_FEATURE_EXCLUSIVE_LOCK
    | rbd.RBD_FEATURE_OBJECT_MAP
    | rbd.RBD_FEATURE_FAST_DIFF
    | rbd.RBD_FEATURE_DEEP_FLATTEN
)


@dataclass(frozen=True)
class Room:
    """A pool: what its images hold, and how much more it takes, in bytes of data (not of copies)."""

    stored_bytes: int
    free_bytes: int


def names(cluster: Cluster, pool: str) -> list[str]:
    """All images of a pool."""
    return [str(name) for name in rbd.RBD().list(cluster.pool(pool))]


def sizes(cluster: Cluster, images: tuple[tuple[str, str], ...]) -> tuple[int | None, ...]:
    """The size in bytes of each image, by its pool and name; None where there is none."""
    return tuple(_size(cluster, pool, name) for pool, name in images)


def _size(cluster: Cluster, pool: str, name: str) -> int | None:
    with _opened(cluster, pool, name, read_only=True) as image:
        return int(image.size()) if image else None


def create(cluster: Cluster, pool: str, name: str, size_bytes: int) -> None:
    """Make an empty image; one of that name is fine."""
    with suppress(rbd.ImageExists):
        rbd.RBD().create(cluster.pool(pool), name, size_bytes, old_format=False, features=FEATURES)


def seal(cluster: Cluster, pool: str, name: str) -> None:
    """Make the snapshot of an image that clones are made from, and protect it."""
    with rbd.Image(cluster.pool(pool), name) as image:
        with suppress(rbd.ImageExists):
            image.create_snap(SNAPSHOT)
        if not image.is_protected_snap(SNAPSHOT):
            image.protect_snap(SNAPSHOT)


def clone(cluster: Cluster, pool: str, template: str, name: str, size_bytes: int) -> None:
    """Clone a sealed image into the same pool, with a size of its own."""
    ioctx = cluster.pool(pool)
    rbd.RBD().clone(ioctx, template, SNAPSHOT, ioctx, name, features=FEATURES)
    with rbd.Image(ioctx, name) as image:
        if image.size() != size_bytes:
            image.resize(size_bytes)


def resize(cluster: Cluster, pool: str, name: str, size_bytes: int) -> None:
    """Grow an image that nobody has open; TemporaryError when somebody does."""
    with _opened(cluster, pool, name, read_only=True) as image:
        watchers = _watchers(image) if image else set()
    if watchers and watchers - _expelled(cluster):
        raise TemporaryError("can't grow the disk: a guest holds its lock")
    with rbd.Image(cluster.pool(pool), name) as image:
        if image.size() < size_bytes:
            image.resize(size_bytes)


def remove(cluster: Cluster, pool: str, name: str) -> None:
    """Remove an image; none is fine. Whoever has it open is expelled; TemporaryError while clones rest on it.

    Without that, a client that was killed would be waited for, for 30 seconds or for ever.
    """
    image_id = _id_of(cluster, pool, name)
    if image_id is not None:
        _rid_of_clients(cluster, pool, image_id)
        with _opened(cluster, pool, image_id=image_id, read_only=False) as image:
            for snapshot in snapshots(image) if image else []:
                if image.is_protected_snap(snapshot["name"]):
                    image.unprotect_snap(snapshot["name"])
                image.remove_snap(snapshot["name"])
    try:
        _take_away(cluster, pool, name)
    except rbd.ImageBusy as error:
        raise TemporaryError("somebody still has the disk open") from error
    except rbd.ImageHasSnapshots as error:
        raise TemporaryError("disks rest on the image") from error


def _id_of(cluster: Cluster, pool: str, name: str) -> str | None:
    with _opened(cluster, pool, name, read_only=True) as image:
        if image:
            return str(image.id())
    # Of an image that somebody was killed at removing the name may be gone, and the list still has it.
    return next((str(entry["id"]) for entry in rbd.RBD().list2(cluster.pool(pool)) if entry["name"] == name), None)


def _take_away(cluster: Cluster, pool: str, name: str) -> None:
    """Remove an image that has no snapshots, as far as it is still there. Errors of librbd pass."""

    def go_on(_done: int, _total: int) -> int:
        cluster.tell_progress()
        return 0

    ioctx = cluster.pool(pool)
    with suppress(rbd.ImageNotFound):
        rbd.RBD().remove(ioctx, name, on_progress=go_on)
    # librbd moves it to the trash first; there it is left when the client is killed, which has it open there.
    for entry in rbd.RBD().trash_list(ioctx):
        if entry["name"] == name:
            _rid_of_clients(cluster, pool, entry["id"])
            rbd.RBD().trash_remove(ioctx, entry["id"], force=True, on_progress=go_on)
    # Where the pool is so full that it has no room for its first trash, librbd says that there is no such image.
    if _size(cluster, pool, name) is not None:
        raise TemporaryError(f"the image {pool}/{name} could not be removed: {why_stuck(cluster, pool)}")


def _rid_of_clients(cluster: Cluster, pool: str, image_id: str) -> None:
    """Expel whoever has an image open that is about to be removed, and have no trace of them left.

    A client that is killed in the moment in which it opens an image may leave a watch in its header that its OSD knows
    no client of. It stays for ever, also when the client is on the blocklist, and librbd removes no image with one.
    """
    expel(cluster, pool, image_id=image_id)
    with _opened(cluster, pool, image_id=image_id, read_only=True) as image:
        watchers = _watchers(image) if image else set()
    if watchers and not watchers - _expelled(cluster):
        _write_anew(cluster.pool(pool), f"rbd_header.{image_id}")


def _write_anew(ioctx: Any, header: str) -> None:
    """Put a header that says the same in the place of one, at once; nobody watches it."""
    with rados.ReadOpCtx() as reading:
        found, _ = ioctx.get_omap_vals(reading, "", "", _MOST_ENTRIES)
        ioctx.operate_read_op(reading, header)
        entries = dict(found)
    with rados.WriteOpCtx() as writing:
        writing.remove()
        writing.new(rados.LIBRADOS_CREATE_IDEMPOTENT)
        ioctx.set_omap(writing, tuple(entries), tuple(entries.values()))
        ioctx.operate_write_op(writing, header)


def snapshots(image: Any) -> list[dict[str, Any]]:
    """The snapshots of an image (rbd.Image) that are not on their way to be removed."""
    return [each for each in image.list_snaps() if each["namespace"] == rbd.RBD_SNAP_NAMESPACE_TYPE_USER]


def children(cluster: Cluster, pool: str, name: str) -> list[str]:
    """The names of the images that rest on a sealed one."""
    try:
        with rbd.Image(cluster.pool(pool), name, snapshot=SNAPSHOT, read_only=True) as image:
            return [str(child["image"]) for child in image.list_children2()]
    except rbd.ImageNotFound:  # of the image, or of the snapshot
        return []


def users(cluster: Cluster, pool: str, name: str | None = None, image_id: str | None = None) -> list[str]:
    """Who has an image open to write to it, or holds its lock: the address of each client, with its nonce.

    In the trash an image is found by its id, anywhere else by its name. Of a client that has died its lock may be left;
    one that has died or is frozen has it open for 30 seconds more. Once it was expelled, it is none.
    """
    found = _clients(cluster, pool, name, image_id)
    return sorted(found - _expelled(cluster)) if found else []


def expel(cluster: Cluster, pool: str, name: str | None = None, image_id: str | None = None) -> list[str]:
    """Have the cluster take nothing more from whoever uses an image, see `users`, and break their locks; returns whom.

    From now on the OSDs refuse what those clients send, as far as it comes after anything that others send.
    """
    found = _clients(cluster, pool, name, image_id)
    if not found:
        return []
    expelled = sorted(found - _expelled(cluster))
    for address in expelled:
        command = {"prefix": "osd blocklist", "blocklistop": "add", "addr": address}
        status, _, said = cluster.rados().mon_command(json.dumps(command), b"")
        if status:
            raise TemporaryError(f"the Ceph cluster does not cut off {address}: {said}")
    if expelled:
        cluster.rados().wait_for_latest_osdmap()
    with _opened(cluster, pool, name, image_id, read_only=False) as image:
        for client, cookie, address in _lockers(image) if image else []:
            if address in found:
                image.break_lock(client, cookie)
    return expelled


def _clients(cluster: Cluster, pool: str, name: str | None, image_id: str | None) -> set[str]:
    with _opened(cluster, pool, name, image_id, read_only=True) as image:
        return _watchers(image) | {address for _, _, address in _lockers(image)} if image else set()


def _expelled(cluster: Cluster) -> set[str]:
    """The clients on the blocklist. From now on the OSDs refuse what they send, see `expel`."""
    command = {"prefix": "osd blocklist ls", "format": "json"}
    status, out, said = cluster.rados().mon_command(json.dumps(command), b"")
    if status:
        raise TemporaryError(f"the Ceph cluster does not tell whom it has cut off: {said}")
    listed, _ = json.JSONDecoder().raw_decode(out.decode())  # after single clients it tells ranges of them
    cluster.rados().wait_for_latest_osdmap()
    return {str(entry["addr"]) for entry in listed}


@contextmanager
def _opened(
    cluster: Cluster, pool: str, name: str | None = None, image_id: str | None = None, *, read_only: bool
) -> Iterator[Any]:
    """The image; None where there is none."""
    try:
        image = rbd.Image(cluster.pool(pool), name, image_id=image_id, read_only=read_only)
    except rbd.ImageNotFound:
        yield None
        return
    with image:
        yield image


def _watchers(image: Any) -> set[str]:
    return {str(watcher["addr"]) for watcher in image.watchers_list()}


def _lockers(image: Any) -> list[tuple[str, str, str]]:
    """Who holds the lock of an image: client, cookie and address of each."""
    held = image.list_lockers()
    return [(str(client), str(cookie), str(address)) for client, cookie, address in held["lockers"]] if held else []


def why_stuck(cluster: Cluster, pool: str) -> str:
    """Why a pool takes nothing, as far as its cluster says; empty where it does not."""
    cluster.pool(pool)
    return f"the pool {pool} of the Ceph cluster is full" if pool in cluster.full_pools() else ""


def identity(cluster: Cluster, pool: str) -> str:
    """What tells a pool from every other one, on any cluster."""
    return f"{cluster.rados().get_fsid()}/{cluster.pool(pool).get_pool_id()}"


def room(cluster: Cluster, pool: str) -> Room:
    """How full a pool is; TemporaryError when the cluster does not know, as without a manager."""
    status, out, said = cluster.rados().mon_command(json.dumps({"prefix": "df", "format": "json"}), b"")
    if status:
        raise TemporaryError(f"the cluster does not tell how much room there is: {said}")
    for found in json.loads(out)["pools"]:
        if found["name"] == pool and found["stats"].get("max_avail"):
            stored = found["stats"].get("stored", 0)
            return Room(int(stored), int(found["stats"]["max_avail"]))
    raise TemporaryError(f"the cluster does not tell how much room there is in pool {pool}: does its manager run?")
