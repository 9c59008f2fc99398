"""ucloud-host-alive: the sign of life of a VM host, kept by a small process of its own.

It does nothing else, so that a daemon that hangs, or is started anew, does not make its host look dead. Killed and
started again within the lease's time it goes on with the same lease, and nobody notices.
"""

import logging
import os
import signal
import sys
import threading
import time

from common import keys, log, settings, systemd
from common.errors import ConfigurationError, Conflict, LeaseExpired, MalformedRecord, StoreError, Unavailable
from common.lease import Lease
from common.schemas.host import Alive
from common.store import Delete, Entry, EtcdOptions, Operation, Put, Store, unchanged
from ucloud_host.boot import boot_id

_log = logging.getLogger(__name__)
_RETRY_S = 0.5


class SignOfLife:
    """`/v1/alive/<host>`, bound to a lease that lasts `ttl_s` seconds after its last renewal."""

    def __init__(self, store: Store, record: Alive, ttl_s: int) -> None:
        self._store = store
        self._record = record
        self._ttl_s = ttl_s

    def run(self, stop: threading.Event) -> None:
        """Keep the host's sign of life until `stop`. It is left to run out, so that a restart is no death."""
        while not stop.is_set():
            try:
                lease = self._take()
                _log.info("%s is alive, lease %x", self._record.name, lease.id)
                lease.keep(stop)
            except (Unavailable, StoreError) as error:
                _log.warning("can't keep the sign of life of %s: %s", self._record.name, error)
                stop.wait(_RETRY_S)

    def _take(self) -> Lease:
        """The lease of an earlier life of this process, or a new one."""
        key = keys.alive(self._record.name)
        entry = self._store.get(key)
        if entry and entry.lease:
            if _owner(entry) != self._record.boot_id:
                raise Conflict((f"{key} (another machine, or an earlier boot of this one, holds it)",))
            lease = Lease(self._store, entry.lease, self._ttl_s, time.monotonic())
            try:
                lease.renew()
            except LeaseExpired:
                entry = None
            else:
                return lease
        verdict_key = keys.verdict(self._record.name)
        verdict = self._store.get(verdict_key)
        lease = Lease.grant(self._store, self._ttl_s)
        compares = [
            unchanged(key, entry.mod_revision if entry else 0),
            unchanged(verdict_key, verdict.mod_revision if verdict else 0),
        ]
        # The verdict goes in the same transaction: neither the judge nor the scheduler can act on it any more.
        self._store.commit(compares, [*said(self._record, lease.id), *([Delete(verdict_key)] if verdict else [])])
        return lease


def said(record: Alive, lease_id: int) -> list[Operation]:
    """What writes a sign of life: with the lease's, what stays of it, so that the judge knows for sure what it said."""
    value = record.to_json()
    return [Put(keys.alive(record.name), value, lease_id), Put(keys.last_alive(record.name), value)]


def _owner(entry: Entry) -> str | None:
    try:
        return Alive.read(entry.key, entry.value).boot_id
    except MalformedRecord as error:
        _log.error("%s", error)
        return None


def main() -> None:
    """Keep this host's sign of life until a signal."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        configuration = settings.load(os.environ)
        log.set_up(configuration.log.level, configuration.log.format == "json")
        host = configuration.host
        store = Store(EtcdOptions.from_settings(configuration.etcd, timeout_s=host.alive_ttl_s))
    except ConfigurationError as error:
        sys.exit(f"ucloud-host-alive: {error}")
    systemd.notify("READY=1")
    SignOfLife(store, Alive(name=host.name, boot_id=boot_id()), host.alive_ttl_s).run(stop)
    store.close()


if __name__ == "__main__":
    main()
