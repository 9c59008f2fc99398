"""The signs of life of many hosts, renewed over one stream.

etcd sees what it sees of as many ucloud-host-alive: a lease and its renewals for each host. But a process of Python
spends half a millisecond on a renewal, and two cores have not that much time for a thousand hosts.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import grpc
from etcd3.etcdrpc import rpc_pb2, rpc_pb2_grpc

from common import deadlines, keys
from common.errors import StoreError, Unavailable
from common.schemas.host import Alive
from common.store import Store, unchanged
from ucloud_host.alive import said


def insist(action: Callable[[], None]) -> None:
    """Do it, however often a busy etcd is late with it: a lease may have run out before it was used, for instance."""
    while True:
        with suppress(StoreError, Unavailable):
            action()
            return


class SignsOfLife:
    """Those of hosts that `add` names, until they are to end."""

    def __init__(self, endpoint: str, store: Store, ttl_s: int, boot_id: str) -> None:
        self._store = store
        self._ttl_s = ttl_s
        self._boot_id = boot_id
        self._channel = grpc.insecure_channel(endpoint)
        self._hosts: dict[int, str] = {}
        self._lost: set[int] = set()
        self.losses = 0
        """How often a lease ran out before it was renewed."""

    def add(self, host: str) -> None:
        """A host is switched on."""
        insist(lambda: self._take(host))

    def _take(self, host: str) -> None:
        record, key = Alive(name=host, boot_id=self._boot_id), keys.alive(host)
        lease, entry = self._store.grant(self._ttl_s), self._store.get(key)
        self._store.commit([unchanged(key, entry.mod_revision if entry else 0)], said(record, lease))
        self._hosts[lease] = host

    def run(self, stop: threading.Event) -> None:
        """Renew all leases until `stop`; the body of a thread."""
        stub: Any = rpc_pb2_grpc.LeaseStub(self._channel)
        while not stop.is_set():
            with suppress(grpc.RpcError):
                for answer in stub.LeaseKeepAlive(self._renewals(stop)):
                    if answer.TTL <= 0:
                        self._lost.add(answer.ID)
        self._channel.close()

    def _renewals(self, stop: threading.Event) -> Iterator[Any]:
        while not stop.wait(deadlines.renew_every_s(self._ttl_s)):
            for lease in tuple(self._hosts):
                yield rpc_pb2.LeaseKeepAliveRequest(ID=lease)
            while self._lost:
                lease = self._lost.pop()
                if host := self._hosts.pop(lease, None):
                    self.losses += 1
                    self.add(host)
