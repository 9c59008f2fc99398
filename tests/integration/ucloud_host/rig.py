"""Hosts that are keys in a real etcd, and judges that are threads of the test, each on a connection of its own."""

import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from common import deadlines, keys
from common.errors import Conflict, MalformedRecord
from common.events import EventLog
from common.leader import Election
from common.metrics import Metrics
from common.schemas.host import Alive, ConfirmedDead, HostRequest, HostStatus, StoreCapacity
from common.schemas.verdict import Sentence, Verdict
from common.store import Delete, EtcdOptions, Put, Store, absent, unchanged
from devcloud.waiting import wait_for
from ucloud_host.alive import said
from ucloud_host.fences import Answer, Fence, Silence, Word
from ucloud_host.fences.manual import ManualFence
from ucloud_host.fences.methods import parse
from ucloud_host.fences.self_fence import SelfFence
from ucloud_host.judge import Judge
from ucloud_host.metrics import JudgeMetrics
from ucloud_host.sentence import Rules

DEADLINE_S = 30.0
TTL_S = 2
GUARDED_S = 0.6
"""The judge waits half as long."""
SHARED = StoreCapacity(store_id="shared", total_mib=1)


class FakeFence:
    """Answers what a test says, when it lets it."""

    def __init__(self, word: Word = Word.YES) -> None:
        self.word = word
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def ask(self, silence: Silence) -> Answer:
        self.asked.append(silence.host)
        self.may_answer.wait(DEADLINE_S)
        return Answer(self.word, "as the test says")


class Hosts:
    """Writes what hosts write of themselves."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._leases: dict[str, int] = {}

    def register(self, *names: str, guarded_s: float | None = GUARDED_S) -> None:
        """Hosts that are registered and alive."""
        for name in names:
            status = HostStatus(name=name, cpu=1, ram_mib=1, ssd=SHARED, boot_id=f"boot of {name}")
            self.put(keys.host_status(name), status.to_json())
            self.live(name, guarded_s)

    def put(self, key: str, value: bytes) -> None:
        """Write a key whatever it holds."""
        entry = self.store.get(key)
        self.store.commit([unchanged(key, entry.mod_revision if entry else 0)], [Put(key, value)])

    def live(self, name: str, guarded_s: float | None = GUARDED_S) -> None:
        """Take up the sign of life, as ucloud-host-alive does. It lasts: a test ends it by `fall_silent`."""
        lease = self._leases[name] = self.store.grant(600)
        record = Alive(name=name, boot_id=f"boot of {name}", guarded_s=guarded_s)
        while not self._take_up(record, lease):
            pass  # the judge was faster

    def _take_up(self, record: Alive, lease: int) -> bool:
        verdict = keys.verdict(record.name)
        entry = self.store.get(verdict)
        compares = [absent(keys.alive(record.name)), unchanged(verdict, entry.mod_revision if entry else 0)]
        try:
            self.store.commit(compares, [*said(record, lease), *([Delete(verdict)] if entry else [])])
        except Conflict:
            return False
        return True

    def fall_silent(self, *names: str) -> None:
        """The sign of life is gone."""
        for name in names:
            self.store.revoke(self._leases.pop(name))

    def confirm(self, name: str) -> None:
        """An admin's word, as the API writes it."""
        verdict = self.verdict(name)
        assert verdict
        word = ConfirmedDead(boot_id=verdict.boot_id, since=verdict.since, at=datetime.now(UTC), by="ann")
        self.put(keys.host(name), HostRequest(name=name, confirmed_dead=word).to_json())

    def verdict(self, name: str) -> Verdict | None:
        """The verdict as it stands in etcd; None if there is none that can be read."""
        entry = self.store.get(keys.verdict(name))
        with suppress(MalformedRecord):
            return Verdict.read(entry.key, entry.value) if entry else None
        return None

    def wait(self, name: str, sentence: Sentence, waits_for: str = "") -> Verdict:
        """The verdict, once it is this one and waits for that."""

        def look() -> Verdict | None:
            verdict = self.verdict(name)
            is_it = verdict and verdict.sentence is sentence and waits_for in verdict.waits_for
            return verdict if is_it else None

        return wait_for(f"{name} {sentence}, waiting for {waits_for!r}", look, DEADLINE_S)

    def wait_gone(self, name: str) -> None:
        """Wait until there is no verdict."""
        wait_for(f"no verdict on {name}", lambda: self.verdict(name) is None, DEADLINE_S)


class JudgeThread:
    """An instance of the judge."""

    def __init__(
        self,
        endpoints: tuple[str, ...],
        methods: tuple[str, ...],
        fences: Mapping[str, Fence],
        share: float = 1.0,
        term_ttl_s: int = 20,
    ) -> None:
        self.metrics = Metrics()
        self.store = Store(EtcdOptions(endpoints), self.metrics)
        self.election = Election(self.store, "host", "a judge", self.metrics, term_ttl_s)
        rules = Rules(parse(methods), share, deadlines.settle_s(TTL_S), timeout_s=DEADLINE_S)
        known: dict[str, Fence] = {"self": SelfFence(), "manual": ManualFence(), **fences}
        used = {name: known[name] for alternative in rules.methods for name in alternative}
        events = EventLog(self.store, keys.JUDGE_REPORTER, 600)
        self.judge = Judge(self.store, self.election, rules, used, JudgeMetrics(self.metrics), events)
        self._stop = threading.Event()
        bodies = (self.election.run, self.judge.run)
        self._threads = [threading.Thread(target=body, args=(self._stop,)) for body in bodies]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "JudgeThread":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.judge.wake()
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
        self.store.close()
