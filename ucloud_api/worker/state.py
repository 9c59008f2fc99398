"""What one worker process of the API holds: the store, caches of what it reads, and the hub of those who watch.

All of it can be had again from etcd. It is made after the fork: gRPC's channels don't survive one.
"""

import gc
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from flask import current_app, request
from prometheus_client import Counter

from common import keys
from common.cache import Cache, Cached
from common.directory import ProjectGroups, Users
from common.errors import Unavailable
from common.events import EventLog
from common.health import Health
from common.lent_lease import LentLease
from common.metrics import Metrics
from common.schemas.directory import Person
from common.schemas.host import Alive, HostRequest, HostStatus
from common.schemas.image import ImageRequest, ImageStatus
from common.schemas.network import NetworkRequest, NetworkStatus, SecurityGroup
from common.schemas.project import Project
from common.schemas.record import Record
from common.schemas.user import Account, Session
from common.schemas.verdict import Verdict
from common.schemas.vm import Placement, VmRequest, VmStatus
from common.settings import Settings
from common.store import EtcdOptions, Store
from ucloud_api.worker.event_feed import EventFeed
from ucloud_api.worker.followed import Followed
from ucloud_api.worker.guard import Guard
from ucloud_api.worker.host_index import HostIndex
from ucloud_api.worker.journal import Journal
from ucloud_api.worker.last_writes import LastWrites
from ucloud_api.worker.leavers import Leavers
from ucloud_api.worker.membership import Memberships
from ucloud_api.worker.otp import OtpClient
from ucloud_api.worker.things import Audience, Things
from ucloud_api.worker.watch import Hub

R = TypeVar("R", bound=Record)

STORE_TIMEOUT_S = 4.0
"""How long a client waits for etcd before it is told that etcd is away."""

_RETRY_S = 2.0
_TRUSTED_S = 0.1
"""How long watches that stand are taken to stand on without looking at each of them again."""

_FRESH_S = 1.5
"""How long a watch may take to tell of a write before the prefix is listed beside it; it tells of each second."""

FOLLOWED = (keys.VM, keys.IMAGE, keys.NETWORK, keys.SECURITY_GROUP, keys.HOST, keys.ACCOUNT, keys.PROJECT, keys.SESSION)
"""Where the API's workers tell one another of their writes."""


class State:
    """The store and the caches. `start` lists and watches; `close` ends everything."""

    def __init__(self, configuration: Settings, last_writes: LastWrites | None = None) -> None:
        """`last_writes` is shared by the workers of a server."""
        self.settings = configuration
        self.metrics = Metrics()
        self.health = Health()
        self.store = Store(EtcdOptions.from_settings(configuration.etcd, STORE_TIMEOUT_S))
        self._own_writes = None if last_writes else LastWrites(FOLLOWED)
        self.last_writes = last_writes or cast(LastWrites, self._own_writes)
        # Each stream of events holds a thread; the rest must be left for everybody else.
        self.hub = Hub(configuration.api.threads * 3 // 4)
        self.upload_slots = threading.BoundedSemaphore(max(1, configuration.api.threads // 2))
        self.leavers = Leavers()
        self.answers_lease = LentLease(self.store, configuration.api.idempotency_ttl_s)
        self.events = EventLog(self.store, keys.API_REPORTER, configuration.event.ttl_s)
        self._feed = EventFeed(self.store, self.hub.tell)
        self._stop = threading.Event()
        self._stand_until_s = 0.0
        self._caches: list[Cache[Record]] = []
        self.vms = self._cache(keys.VM, VmRequest)
        self.placements = self._cache(keys.PLACEMENT, Placement)
        self.vm_statuses = self._cache(keys.STATUS_VM, VmStatus)
        self.hosts = self._cache(keys.HOST, HostRequest)
        self.host_statuses = self._cache(keys.STATUS_HOST, HostStatus)
        self.alive = self._cache(keys.ALIVE, Alive)
        self.verdicts = self._cache(keys.VERDICT, Verdict)
        self.images = self._cache(keys.IMAGE, ImageRequest)
        self.image_statuses = self._cache(keys.STATUS_IMAGE, ImageStatus)
        self.networks = self._cache(keys.NETWORK, NetworkRequest)
        self.network_statuses = self._cache(keys.STATUS_NETWORK, NetworkStatus)
        self.groups = self._cache(keys.SECURITY_GROUP, SecurityGroup)
        self.accounts = self._cache(keys.ACCOUNT, Account)
        self.projects = self._cache(keys.PROJECT, Project)
        self.sessions = self._cache(keys.SESSION, Session)
        self.logins = Counter("ucloud_logins_total", "Tries to log in", ["result"], registry=self.metrics.registry)
        for result in ("done", "refused", "held off"):
            self.logins.labels(result)
        self.people = self._cache(keys.PERSON, Person)
        self.users = Users(self.store, configuration.ldap)
        self.otp = OtpClient(configuration.otp)
        self.guard = Guard()
        self.project_groups = ProjectGroups(configuration.ldap.project_groups)
        self.memberships = Memberships(self.projects, lambda user: self.hub.tell("account", user))
        self.rights_caches = (self.accounts, self.projects)
        self.index = HostIndex(self.placements)
        self.network_index = HostIndex(self.network_statuses)
        self.vm_things = Things(self.vms, lambda vm: Audience(vm.owner))
        self.vm_caches = (self.vms, self.placements, self.vm_statuses, self.alive, self.verdicts)
        self.vm_journal = Journal(self.vm_caches)
        self.followed_images = Followed(
            "image", lambda image: Audience(image.owner, image.public), self.images, self.image_statuses
        )
        self.followed_networks = Followed(
            "network",
            lambda network: Audience(network.owner, network.public),
            self.networks,
            self.network_statuses,
            self.alive,
        )
        self.followed_groups = Followed("security-group", lambda group: Audience(group.owner), self.groups)
        self._subscribe()

    def _cache(self, prefix: str, kind: type[R]) -> Cache[R]:
        cache = Cache(self.store, prefix, kind, self.metrics)
        self.health.add_check(f"cache {prefix}", cache.problem)
        self.health.add_malformed(lambda: cache.malformed)
        self._caches.append(cast(Cache[Record], cache))
        return cache

    def _subscribe(self) -> None:
        kinds: tuple[tuple[str, Things[Any], Journal, tuple[Cache[Any], ...]], ...] = (
            ("vm", self.vm_things, self.vm_journal, (self.vms, self.placements, self.vm_statuses)),
            *(
                (each.kind, each.things, each.journal, each.caches)
                for each in (self.followed_images, self.followed_networks, self.followed_groups)
            ),
        )
        for kind, things, journal, (requests, *others) in kinds:
            requests.subscribe(self._teller(kind, requests, journal, things.update))
            for cache in others:
                if cache is not self.alive:
                    cache.subscribe(self._teller(kind, cache, journal, things.audience_at))

        def tell_vms_of_host(cache: Cache[Any], key: str) -> None:
            for vm_uuid in self.index.things_on(keys.last_part(key)):
                self.vm_journal.touch(cache, vm_uuid, self.vm_things.audience(vm_uuid))
                self.hub.tell("vm", vm_uuid)

        def tell_networks_of_host(key: str) -> None:
            for uuid in self.network_index.things_on(keys.last_part(key)):
                self.followed_networks.journal.touch(self.alive, uuid, self.followed_networks.things.audience(uuid))
                self.hub.tell("network", uuid)

        self.alive.subscribe(lambda key: tell_vms_of_host(self.alive, key))
        self.alive.subscribe(tell_networks_of_host)
        self.verdicts.subscribe(lambda key: tell_vms_of_host(self.verdicts, key))
        self.sessions.subscribe(lambda key: self.hub.tell("session", keys.last_part(key)))
        self.projects.subscribe(self.memberships.update)
        self.accounts.subscribe(lambda key: self.hub.tell("account", keys.last_part(key)))

    def _teller(
        self, kind: str, cache: Cache[Any], journal: Journal, audience_of: Callable[[str], Audience | None]
    ) -> Callable[[str], None]:
        """A listener of a cache that brings what it tells to the journal of a kind and to the hub."""

        def tell(key: str) -> None:
            name = keys.last_part(key)
            journal.touch(cache, name, audience_of(key))
            self.hub.tell(kind, name)

        return tell

    def start(self) -> None:
        """List and watch, each cache in a thread of its own."""
        for cache in self._caches:
            threading.Thread(target=cache.keep, args=(self._stop,), name=f"cache {cache.prefix}", daemon=True).start()
        threading.Thread(target=self._freeze, name="freeze", daemon=True).start()
        threading.Thread(target=self._feed.run, args=(self._stop,), name="events", daemon=True).start()
        self.leavers.start()

    def _freeze(self) -> None:
        """Have the garbage collector pass by what has been listed: records are no cycles, and many."""
        for cache in self._caches:
            while not self._stop.is_set() and not cache.wait_revision(1, _RETRY_S):
                pass
        gc.collect()
        gc.freeze()

    def pause(self, seconds: float) -> None:
        """Wait so long, or until this worker is to end."""
        self._stop.wait(seconds)

    def end_streams(self) -> None:
        """Let the streams end, for a worker that is to stop."""
        self.hub.close()

    def close(self) -> None:
        """End all threads, calls and streams."""
        self._stop.set()
        self.hub.close()
        self.leavers.close()
        self.store.close()
        if self._own_writes:
            self._own_writes.close()

    def wrote(self, cache: Cache[Any], revision: int) -> None:
        """This worker wrote below the prefix of `cache` at `revision`: from now on every worker's answers show it."""
        self.last_writes.note(cache.prefix, revision)

    def await_caches(self, *caches: Cache[Any], fresh: bool = False) -> None:
        """Return when `caches` can be answered from: they know all that the workers of this machine wrote.

        If `fresh`, or with `Cache-Control: no-cache` in the request, they know all that anybody wrote. Unavailable
        while etcd is away.
        """
        is_fresh = fresh or ("HTTP_CACHE_CONTROL" in request.environ and "no-cache" in request.cache_control)
        newest = self._newest() if is_fresh else 0
        for cache in caches if is_fresh else ():
            cache.ask(newest)  # all of them at once
        for cache in caches:
            wanted = self.last_writes.get(cache.prefix)
            # Revision 0 is that of a cache that was never listed, and its listeners were told of nothing.
            if cache.revision < max(wanted, newest, 1):
                self._catch_up(cache, max(wanted, newest), wanted)
        now_s = time.monotonic()
        if now_s >= self._stand_until_s:
            if any(cache.problem() for cache in self._caches):
                self.store.get(keys.NOTHING)
            else:
                self._stand_until_s = now_s + _TRUSTED_S

    def await_writes(self, cache: Cache[Any]) -> None:
        """Return when `cache` knows all that the workers of this machine wrote; Unavailable while etcd is away."""
        wanted = self.last_writes.get(cache.prefix)
        if cache.revision < max(wanted, 1):
            self._catch_up(cache, wanted, wanted)
        if cache.problem():
            cache.refresh()  # it may have missed what others wrote

    def _newest(self) -> int:
        """The revision that etcd is at."""
        return self.store.list(keys.NOTHING).revision

    def _catch_up(self, cache: Cache[Any], revision: int, written: int) -> None:
        if not cache.wait_synced(STORE_TIMEOUT_S):
            raise Unavailable("etcd", f"{cache.prefix} could not be listed yet")
        if cache.wait_revision(max(1, revision), _FRESH_S):
            return
        cache.refresh()
        if not cache.wait_revision(max(1, revision), _FRESH_S) and cache.revision < written:
            self.last_writes.lower(cache.prefix, written, cache.revision)

    def find(self, cache: Cache[R], key: str, kind: type[R]) -> Cached[R] | None:
        """The record at `key` after `await_caches`: the cached one, or, where the cache has none, what etcd has.

        MalformedRecord when it can't be read.
        """
        cached = cache.get(key)
        if cached is not None and not cache.is_malformed(key):
            return cached
        entry = self.store.get(key)
        return Cached(kind.read(key, entry.value), entry.create_revision, entry.mod_revision) if entry else None

    def rights_since(self, user: str) -> int:
        """A revision since which a user may see what it may see now, as far as `rights_caches` know."""
        account = self.accounts.get(keys.account(user))
        return max(self.memberships.changed_at(user), account.mod_revision if account else 0)

    def is_alive(self, host: str) -> bool:
        """Whether a host's sign of life is there; one that can't be read is one all the same."""
        key = keys.alive(host)
        return self.alive.get(key) is not None or self.alive.is_malformed(key)


def current_state() -> State:
    """The state of the worker that serves this request."""
    return cast(State, current_app.extensions["ucloud"])
