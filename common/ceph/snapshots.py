"""What is done with the snapshots of disks, each in one call. For the process of a child: hands.py.

Of our snapshots each has a uuid for its name. An image that is rolled back is between two states until that is done:
whoever calls must know it for one.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import rados
import rbd

from common.ceph.access import Cluster
from common.ceph.images import FEATURES, snapshots
from common.errors import PermanentError, TemporaryError

_LOOK_EVERY_S = 1.0
Place = tuple[str, str]
"""The pool and the name of an image."""


@dataclass(frozen=True)
class Look:
    """An image: its size, and the snapshots of it, each with when it was taken (seconds since 1970, UTC)."""

    size_bytes: int
    taken_at_s: dict[str, float]


def look(cluster: Cluster, places: tuple[Place, ...]) -> tuple[Look | None, ...]:
    """What there is of images; None where there is none."""
    return tuple(_look(cluster, pool, name) for pool, name in places)


def _look(cluster: Cluster, pool: str, name: str) -> Look | None:
    try:
        image = rbd.Image(cluster.pool(pool), name, read_only=True)
    except rbd.ImageNotFound:
        return None
    with image:
        return Look(int(image.size()), {each["name"]: _taken_at_s(image, each["id"]) for each in snapshots(image)})


def _taken_at_s(image: Any, snap_id: int) -> float:
    # The binding makes a datetime of it that is in UTC and does not say so.
    taken_at: datetime = image.get_snap_timestamp(snap_id)
    return taken_at.replace(tzinfo=UTC).timestamp()


def take(cluster: Cluster, places: tuple[Place, ...], snapshot: str) -> None:
    """Make a snapshot of each image, none of which has one of that name."""
    for pool, name in places:
        with rbd.Image(cluster.pool(pool), name) as image:
            image.create_snap(snapshot)


def remove(cluster: Cluster, places: tuple[Place, ...], snapshot: str) -> None:
    """Remove a snapshot of each image; none is fine. What was cloned from it keeps what it needs of it."""
    for pool, name in places:
        with suppress(rbd.ImageNotFound), rbd.Image(cluster.pool(pool), name) as image:
            image.remove_snap(snapshot)
            cluster.tell_progress()


def roll_back(cluster: Cluster, place: Place, snapshot: str, *, again: bool) -> None:
    """Make an image, which nobody has open, what it was in a snapshot. PermanentError when there is no such snapshot.

    `again`: a process that did so may have been ended in its midst. librbd skips objects that it knows of neither now
    nor in the snapshot, and what it knows of now may be as of the snapshot already: so it has to look which there are.
    """
    pool, name = place
    with rbd.Image(cluster.pool(pool), name) as image:
        if snapshot not in [each["name"] for each in snapshots(image)]:
            raise PermanentError("the snapshot to roll back to is gone from the store")
        with _progress(cluster, pool):
            if again:
                image.rebuild_object_map()
            image.rollback_to_snap(snapshot)


def clone(cluster: Cluster, place: Place, snapshot: str, name: str) -> None:
    """Clone an image, as it was in a snapshot, into the same pool."""
    pool, parent = place
    ioctx = cluster.pool(pool)
    try:
        rbd.RBD().clone(ioctx, parent, snapshot, ioctx, name, features=FEATURES)
    except rbd.ImageNotFound as error:
        raise PermanentError("the snapshot is gone from the store") from error


def flatten(cluster: Cluster, pool: str, name: str) -> None:
    """Copy into a clone all that it has of its parent, on which it rests no more then; what is no clone is fine."""

    def go_on(done: int, total: int) -> int:
        cluster.tell_progress(done * 100 // max(1, total))
        return 0

    with rbd.Image(cluster.pool(pool), name) as image:
        try:
            image.parent_info()
        except rbd.ImageNotFound:
            return
        image.flatten(on_progress=go_on)


@contextmanager
def _progress(cluster: Cluster, pool: str) -> Iterator[None]:
    """Tell of progress as long as the cluster answers: what goes on meanwhile tells of none.

    Each operation of it has the time of any other; one that gets no answer ends it with an error.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK_EVERY_S):
            with suppress(rados.Error, TemporaryError):
                _ask(cluster, pool)
                cluster.tell_progress()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _ask(cluster: Cluster, pool: str) -> None:
    """Have the cluster answer something."""
    with suppress(rados.ObjectNotFound):
        cluster.pool(pool).stat("ucloud")
