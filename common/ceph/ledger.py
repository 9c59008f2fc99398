"""A table in a pool, kept in one object of RADOS: what is under way, and which image is which template.

Each write is one operation: all of it is done, or nothing, and only if what it expects is so. For the process of a
child: hands.py. Source: librados, rados_write_op_omap_cmp2.
"""

import errno
from collections.abc import Mapping
from typing import Any

import rados

from common.ceph.access import Cluster

_OBJECT = "ucloud"
_PAGE = 1000
_EQUAL = 1  # LIBRADOS_CMPXATTR_OP_EQ


def read(cluster: Cluster, pool: str, prefix: str = "") -> dict[str, str]:
    """The entries whose names begin with `prefix`."""
    found: dict[str, str] = {}
    last = ""
    while True:
        page = _read_page(cluster.pool(pool), prefix, last)
        found |= page
        if len(page) < _PAGE:
            return found
        last = max(page)


def _read_page(ioctx: Any, prefix: str, after: str) -> dict[str, str]:
    with rados.ReadOpCtx() as operation:
        entries, _ = ioctx.get_omap_vals(operation, after, prefix, _PAGE)
        try:
            ioctx.operate_read_op(operation, _OBJECT)
        except rados.ObjectNotFound:
            return {}
        return {str(name): bytes(value).decode() for name, value in entries}


def write(
    cluster: Cluster, pool: str, expect: Mapping[str, str], put: Mapping[str, str], drop: tuple[str, ...] = ()
) -> bool:
    """Change entries if each of `expect` is as it says (empty: absent); whether it was so."""
    ioctx = cluster.pool(pool)
    with rados.WriteOpCtx() as operation:
        operation.new(rados.LIBRADOS_CREATE_IDEMPOTENT)
        for name, value in expect.items():
            operation.omap_cmp(name, value, _EQUAL)
        if put:
            ioctx.set_omap(operation, tuple(put), tuple(value.encode() for value in put.values()))
        if drop:
            ioctx.remove_omap_keys(operation, drop)
        try:
            ioctx.operate_write_op(operation, _OBJECT)
        except rados.Error as error:
            if error.errno == errno.ECANCELED:
                return False
            raise
    return True
