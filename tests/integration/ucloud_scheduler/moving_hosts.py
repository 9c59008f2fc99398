"""Hosts that do at once whatever they are ordered, moves included: in etcd, as ucloud_vm would, and nowhere else."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from common import keys
from common.cache import Cache
from common.metrics import Metrics
from common.schemas.vm import Actual, MoveReport, MoveState, Placement, Requested, Role, VmStatus
from common.store import MAX_OPERATIONS, Delete, Operation, Put, Store, absent

_ROUND_S = 0.5


class MovingHosts:
    """Answers every placement with a status."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._placements = Cache(store, keys.PLACEMENT, Placement, Metrics())
        self._statuses = Cache(store, keys.STATUS_VM, VmStatus, Metrics())
        self._news = threading.Event()
        self.arrived: set[str] = set()
        """The keys of the placements whose guests have come from another host."""
        self.fails: dict[str, str] = {}
        """Why a host that is to take a VM can't, by host."""
        for cache in (self._placements, self._statuses):
            cache.subscribe(lambda _key: self._news.set())

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Meanwhile they work."""
        stop = threading.Event()
        bodies = (self._placements.run, self._statuses.run, self._run)
        threads = [threading.Thread(target=body, args=(stop,)) for body in bodies]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            self._news.set()
            for thread in threads:
                thread.join()

    def _run(self, stop: threading.Event) -> None:
        for cache in (self._placements, self._statuses):
            cache.wait_synced()
        while not stop.is_set():
            self._news.wait(_ROUND_S)
            self._news.clear()
            operations = self._answers()
            for begin in range(0, len(operations), MAX_OPERATIONS):
                self._store.commit([absent(keys.ROOT)], operations[begin : begin + MAX_OPERATIONS])

    def _answers(self) -> list[Operation]:
        said = {
            key: cached.record for key, cached in self._statuses.records().items() if f"/{keys.NO_HOST}/" not in key
        }
        wanted: dict[str, VmStatus] = {}
        for key, cached in self._placements.records().items():
            host, vm_uuid = keys.host_and_vm(key)
            status = self._answer(host, key, cached.record)
            wanted[keys.vm_status(host, vm_uuid)] = status
        changed = [
            Put(key, status.to_json())
            for key, status in wanted.items()
            if key not in said or said[key].model_copy(update={"since": status.since}) != status
        ]
        return [*changed, *[Delete(key) for key in said if key not in wanted]]

    def _answer(self, host: str, key: str, order: Placement) -> VmStatus:
        actual = Actual.STOPPED if order.request.requested is Requested.STOPPED else Actual.RUNNING
        move: MoveReport | None = None
        leaving = order.leaving
        match order.role:
            case Role.LEFT:
                actual = Actual.DELETED
            case Role.INCOMING if why := self.fails.get(host):
                move = MoveReport(epoch=order.epoch, state=MoveState.FAILED, reason=why)
            case Role.INCOMING:
                has_guest = key in self.arrived
                move = MoveReport(epoch=order.epoch, state=MoveState.READY, uri=f"to://{host}", has_guest=has_guest)
            case Role.RUN if leaving and leaving.uri and not leaving.cancelled:
                self.arrived.add(keys.placement(leaving.to, order.request.uuid))
                move = MoveReport(epoch=leaving.epoch, state=MoveState.DONE, percent=100)
            case Role.RUN if leaving and leaving.uri:
                move = MoveReport(epoch=leaving.epoch, state=MoveState.FAILED, reason="it was cancelled")
        return VmStatus(
            epoch=order.epoch,
            generation=order.generation,
            actual=Actual.MIGRATING if move else actual,
            since=datetime.now(UTC),
            move=move,
        )
