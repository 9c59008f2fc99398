"""ucloud-host-alive: the sign of life of a VM host, kept by a small process of its own.

It does nothing else, so that a daemon that hangs, or is started anew, does not make its host look dead. Killed and
started again within the lease's time it goes on with the same lease, and nobody notices.

It leaves word of each renewal in the host's lifeline, for the guard and for ucloud-vm. A sign of life that was lost it
takes up again only when nothing of the host's HA VMs can be running that may run elsewhere by now.
"""

import logging
import os
import signal
import sys
import threading

from common import clock, deadlines, keys, log, settings, systemd
from common.errors import ConfigurationError, Conflict, LeaseExpired, MalformedRecord, StoreError, Unavailable
from common.lease import Lease
from common.lifeline import Lifeline
from common.process import boot_id
from common.schemas.host import Alive
from common.schemas.verdict import Sentence, Verdict
from common.store import Delete, Entry, EtcdOptions, Operation, Put, Store, unchanged

_log = logging.getLogger(__name__)
_RETRY_S = 0.5
_LOOK_S = 0.1
_TELL_AFTER_S = 10.0


class SignOfLife:
    """`/v1/alive/<host>`, bound to a lease that lasts `ttl_s` seconds after its last renewal."""

    def __init__(self, store: Store, record: Alive, ttl_s: int, lifeline: Lifeline, *, guarded: bool) -> None:
        """`record` is what to say, without a word on the guard; `guarded`: whether the host is to have one."""
        self._store = store
        self._record = record
        self._ttl_s = ttl_s
        self._lifeline = lifeline
        self._guarded = guarded
        self._key = keys.alive(record.name)

    def run(self, stop: threading.Event) -> None:
        """Keep the host's sign of life until `stop`. It is left to run out, so that a restart is no death."""
        while not stop.is_set():
            try:
                lease = self._go_on() or self._take(stop)
                if lease is None:
                    continue
                self._lifeline.renewed_at = lease.renewed_at
                _log.info("%s is alive, lease %x", self._record.name, lease.id)
                self._keep(lease, stop)
            except (Unavailable, StoreError) as error:
                _log.warning("can't keep the sign of life of %s: %s", self._record.name, error)
                stop.wait(_RETRY_S)

    def _keep(self, lease: Lease, stop: threading.Event) -> None:
        """Renew the lease until `stop`, leave word of it, and tell when the guard comes or goes."""
        entry = self._store.get(self._key)
        while not stop.wait(deadlines.renew_every_s(self._ttl_s)):
            lease.renew()
            self._lifeline.renewed_at = lease.renewed_at
            record = self._now()
            if entry is None or entry.value != record.to_json():
                compare = unchanged(self._key, entry.mod_revision if entry else 0)
                self._store.commit([compare], said(record, lease.id))
                entry = self._store.get(self._key)

    def _go_on(self) -> Lease | None:
        """The lease of an earlier life of this process, if it is not over."""
        entry = self._store.get(self._key)
        if entry is None or not entry.lease:
            return None
        if _owner(entry) != self._record.boot_id:
            raise Conflict((f"{self._key} (another machine, or an earlier boot of this one, holds it)",))
        lease = Lease(self._store, entry.lease, self._ttl_s, clock.now())
        try:
            lease.renew()
        except LeaseExpired:
            return None
        return lease

    def _take(self, stop: threading.Event) -> Lease | None:
        """A new lease with a sign of life, after what ran here meanwhile has ended; None when it is to `stop`."""
        entry = self._store.get(self._key)
        verdict_key = keys.verdict(self._record.name)
        verdict = self._store.get(verdict_key)
        if self._guarded and self._may_run_elsewhere(verdict) and not self._clean_up(stop):
            return None
        lease = Lease.grant(self._store, self._ttl_s)
        compares = [
            unchanged(self._key, entry.mod_revision if entry else 0),
            unchanged(verdict_key, verdict.mod_revision if verdict else 0),
        ]
        # The verdict goes in the same transaction: neither the judge nor the scheduler can act on it any more.
        self._store.commit(compares, [*said(self._now(), lease.id), *([Delete(verdict_key)] if verdict else [])])
        return lease

    def _may_run_elsewhere(self, verdict: Entry | None) -> bool:
        """Whether others may run, or start, what ran here when the sign of life was lost."""
        renewed_at = self._lifeline.renewed_at
        if renewed_at and clock.now() >= renewed_at + deadlines.guard_s(self._ttl_s):
            return True
        try:
            return verdict is not None and Verdict.read(verdict.key, verdict.value).sentence is not Sentence.SILENT
        except MalformedRecord as error:
            _log.error("%s", error)
            return True

    def _clean_up(self, stop: threading.Event) -> bool:
        """Have the guard end the HA guests, which it goes on doing until it hears of a renewal; False at `stop`."""
        asked_at = self._lifeline.asked_at = clock.now()
        tell_at = asked_at + _TELL_AFTER_S
        while self._lifeline.clean_at < asked_at:
            if stop.wait(_LOOK_S):
                return False
            if clock.now() > tell_at:
                _log.warning("waiting for ucloud-host-guard to say that the HA VMs of this host have ended")
                tell_at = clock.now() + _TELL_AFTER_S
        return True

    def _now(self) -> Alive:
        """What is to be said now."""
        missed = clock.now() - self._lifeline.beat_at > deadlines.guard_missed_s(self._ttl_s)
        guarded_s = deadlines.guard_s(self._ttl_s) if self._guarded and not missed else None
        return self._record.model_copy(update={"guarded_s": guarded_s})


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
        lifeline = Lifeline(host.run_directory, boot_id())
        store = Store(EtcdOptions.from_settings(configuration.etcd, timeout_s=host.alive_ttl_s))
    except ConfigurationError as error:
        sys.exit(f"ucloud-host-alive: {error}")
    systemd.notify("READY=1")
    record, guarded = Alive(name=host.name, boot_id=boot_id()), configuration.fence.counts_on_guard
    SignOfLife(store, record, host.alive_ttl_s, lifeline, guarded=guarded).run(stop)
    store.close()


if __name__ == "__main__":
    main()
