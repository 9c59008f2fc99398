"""How a Ceph is reached: what a client needs to know, and the connection of one process."""

import base64
import binascii
import errno
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rados
import rbd

from common.errors import TemporaryError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FULL_FLAGS = {"full", "full_quota"}
_ALWAYS = {
    # Layering, exclusive lock, object map, fast diff, deep flatten.
    "rbd_default_features": "61",
    "rbd_default_clone_format": "2",
    # A client leaves neither a log nor a socket.
    "log_file": "",
    "admin_socket": "",
}
NO_ANSWER = "the Ceph cluster does not answer"
_KEY = re.compile(r"^\s*key\s*=\s*(\S+)\s*$", re.MULTILINE)


class NoAnswer(TemporaryError):
    """The cluster does not answer."""


@dataclass(frozen=True)
class Access:
    """Which cluster, by its `conf`; as whom, with the key in the file `keyring`, both absolute paths.

    `timeout_s` is how long one operation of RADOS may take.
    """

    conf: str
    client: str
    keyring: str
    timeout_s: int

    def options(self, timeout_s: int = 0) -> dict[str, str]:
        """What librados is told besides `conf`; by default each operation may take the time of this access."""
        limit = str(timeout_s or self.timeout_s)
        return {
            "keyring": self.keyring,
            "client_mount_timeout": limit,
            "rados_mon_op_timeout": limit,
            "rados_osd_op_timeout": limit,
        }

    def key(self) -> bytes:
        """The client's key, a secret; TemporaryError when its file can't be read."""
        try:
            sections = Path(self.keyring).read_text(encoding="utf-8").split("[")
        except OSError as error:
            raise TemporaryError(f"storage.rbd_keyring: {self.keyring}: {error.strerror}") from error
        mine = next((text for text in sections if text.startswith(f"client.{self.client}]")), "")
        found = _KEY.search(mine)
        with suppress(binascii.Error):
            if found:
                return base64.b64decode(found[1], validate=True)
        raise TemporaryError(f"storage.rbd_keyring: {self.keyring} has no key of client.{self.client}")


class Cluster:
    """A connection to a cluster, made when it is first needed. For the process of a child only."""

    def __init__(self, access: Access, tell_progress: Callable[..., None]) -> None:
        """`tell_progress` gives a call that takes long more time; it may say how far that is, in percent."""
        self.tell_progress = tell_progress
        self._access = access
        self._rados: Any = None
        self._pools: dict[str, Any] = {}

    def rados(self) -> Any:
        """The connection (rados.Rados)."""
        if self._rados is None:
            access = self._access
            access.key()  # librados would only say that it was refused
            try:
                connection = rados.Rados(
                    conffile=access.conf, name=f"client.{access.client}", conf=access.options() | _ALWAYS
                )
                connection.connect(timeout=access.timeout_s)
            except rados.ObjectNotFound as error:
                raise TemporaryError(f"storage.rbd_conf, storage.rbd_keyring: {error}") from error
            self._rados = connection
        return self._rados

    def pool(self, name: str) -> Any:
        """The pool of that name (rados.Ioctx)."""
        if name not in self._pools:
            try:
                pool = self.rados().open_ioctx(name)
            except rados.ObjectNotFound as error:
                raise TemporaryError(f"the cluster has no pool {name}") from error
            # A full pool is to say so, not to wait for room; and what frees some is to be done.
            pool.set_osdmap_full_try()
            self._pools[name] = pool
        return self._pools[name]

    def full_pools(self) -> list[str]:
        """Those of the pools used so far that take no more."""
        if not self._pools:
            return []
        status, out, _ = self.rados().mon_command(json.dumps({"prefix": "osd dump", "format": "json"}), b"")
        pools = json.loads(out)["pools"] if status == 0 else []
        return [
            pool["pool_name"]
            for pool in pools
            if pool["pool_name"] in self._pools and _FULL_FLAGS & set(pool.get("flags_names", "").split(","))
        ]


@contextmanager
def told_as_ours(cluster: Cluster) -> Iterator[None]:
    """Turn errors of librados and librbd into ours. Most pass: clusters fill up and empty, and come back."""
    try:
        yield
    except (rados.TimedOut, rbd.Timeout) as error:
        raise NoAnswer(NO_ANSWER) from error
    except (rados.PermissionDeniedError, rados.PermissionError, rbd.PermissionError) as error:
        raise TemporaryError(f"the Ceph cluster refuses this client: {error}") from error
    except (rados.Error, rbd.Error) as error:
        if getattr(error, "errno", 0) in _FULL:
            raise TemporaryError(_what_is_full(cluster)) from error
        raise TemporaryError(f"the Ceph cluster: {error}") from error


def _what_is_full(cluster: Cluster) -> str:
    try:
        full = cluster.full_pools()
    except (rados.Error, TemporaryError):
        full = []
    return f"the pool {full[0]} of the Ceph cluster is full" if full else "the Ceph cluster is full"
