"""What one worker process of the API holds: the store, caches of what it reads, and the hub of those who watch.

All of it can be had again from etcd. It is made after the fork: gRPC's channels don't survive one.
"""

import logging
import threading
from typing import Any, TypeVar, cast

from flask import current_app

from common import keys
from common.cache import Cache, Cached
from common.errors import UcloudError, Unavailable
from common.health import Health
from common.metrics import Metrics
from common.schemas.host import Alive, HostRequest, HostStatus
from common.schemas.image import ImageRequest, ImageStatus
from common.schemas.record import Record
from common.schemas.vm import Placement, Role, VmRequest, VmStatus
from common.settings import Settings
from common.store import EtcdOptions, Store
from ucloud_api.placements import PlacementIndex
from ucloud_api.views import VmFacts
from ucloud_api.watch import Hub

_log = logging.getLogger(__name__)
R = TypeVar("R", bound=Record)

STORE_TIMEOUT_S = 4.0
"""How long a client waits for etcd before it is told that etcd is away."""

_RETRY_S = 2.0


class State:
    """The store and the caches. `start` lists and watches; `close` ends everything."""

    def __init__(self, configuration: Settings) -> None:
        self.settings = configuration
        self.metrics = Metrics()
        self.health = Health()
        self.store = Store(EtcdOptions.from_settings(configuration.etcd, STORE_TIMEOUT_S))
        # Each stream of events holds a thread; the rest must be left for everybody else.
        self.hub = Hub(configuration.api.threads * 3 // 4)
        self._stop = threading.Event()
        self._caches: list[Cache[Record]] = []
        self.vms = self._cache(keys.VM, VmRequest)
        self.placements = self._cache(keys.PLACEMENT, Placement)
        self.vm_statuses = self._cache(keys.STATUS_VM, VmStatus)
        self.hosts = self._cache(keys.HOST, HostRequest)
        self.host_statuses = self._cache(keys.STATUS_HOST, HostStatus)
        self.alive = self._cache(keys.ALIVE, Alive)
        self.images = self._cache(keys.IMAGE, ImageRequest)
        self.image_statuses = self._cache(keys.STATUS_IMAGE, ImageStatus)
        self.index = PlacementIndex(self.placements)
        self._subscribe()

    def _cache(self, prefix: str, kind: type[R]) -> Cache[R]:
        cache = Cache(self.store, prefix, kind, self.metrics)
        self.health.add_check(f"cache {prefix}", cache.problem)
        self.health.add_malformed(lambda: cache.malformed)
        self._caches.append(cast(Cache[Record], cache))
        return cache

    def _subscribe(self) -> None:
        def tell_vm(key: str) -> None:
            self.hub.tell("vm", keys.last_part(key))

        def tell_image(key: str) -> None:
            self.hub.tell("image", keys.last_part(key))

        def tell_vms_of_host(key: str) -> None:
            for vm_uuid in self.index.vms_on(keys.last_part(key)):
                self.hub.tell("vm", vm_uuid)

        for vm_cache in (self.vms, self.placements, self.vm_statuses):
            vm_cache.subscribe(tell_vm)
        for image_cache in (self.images, self.image_statuses):
            image_cache.subscribe(tell_image)
        self.alive.subscribe(tell_vms_of_host)

    def start(self) -> None:
        """List and watch, each cache in a thread of its own."""
        for cache in self._caches:
            threading.Thread(target=self._keep, args=(cache,), name=f"cache {cache.prefix}", daemon=True).start()

    def _keep(self, cache: Cache[Record]) -> None:
        while not self._stop.is_set():
            try:
                cache.run(self._stop)
            except UcloudError as error:
                # For instance, the password is wrong. Clients get 503 meanwhile, /healthz says which cache it is.
                _log.error("%s can't be watched: %s", cache.prefix, error)
                self._stop.wait(_RETRY_S)

    def end_streams(self) -> None:
        """Let the streams end, for a worker that is to stop."""
        self.hub.close()

    def close(self) -> None:
        """End all threads, calls and streams."""
        self._stop.set()
        self.hub.close()
        self.store.close()

    def await_caches(self, *caches: Cache[Any]) -> None:
        """Return when `caches` can be answered from; Unavailable while etcd is away.

        A cache whose watch is being set up anew is only a moment behind, as long as etcd itself answers.
        """
        for cache in caches:
            if not cache.wait_synced(STORE_TIMEOUT_S):
                raise Unavailable("etcd", f"{cache.prefix} could not be listed yet")
        if any(cache.problem() for cache in caches):
            self.store.get(keys.ROOT)

    def read(self, cache: Cache[R], key: str, kind: type[R]) -> R | None:
        """The record at `key` as etcd has it now, so that a client reads what it has written to another worker."""
        entry = self.store.get(key)
        if entry is None:
            return None
        record = kind.read(key, entry.value)
        if cache.get(key):
            cache.note(key, record, entry.mod_revision)
        return record

    def cached_or_read(self, cache: Cache[R], key: str, kind: type[R]) -> R | None:
        """The record at `key`: the cached one, or, where the cache knows none, what etcd has."""
        cached: Cached[R] | None = cache.get(key)
        return cached.record if cached else self.read(cache, key, kind)

    def facts(self, request: VmRequest) -> VmFacts:
        """All that is known of a VM."""
        image = self.images.get(keys.image(request.image))
        image_name = image.record.name if image else None
        running = [
            (placement.record, host)
            for host in self.index.hosts_of(request.uuid)
            if (placement := self.placements.get(keys.placement(host, request.uuid)))
            and placement.record.role is Role.RUN
        ]
        # A later epoch supersedes an earlier one; there is more than one only in between.
        order, host = max(running, key=lambda each: each[0].epoch, default=(None, keys.NO_HOST))
        status = self.vm_statuses.get(keys.vm_status(host, request.uuid))
        return VmFacts(
            request,
            host if order else None,
            order,
            status.record if status else None,
            order is None or self.is_alive(host),
            image_name,
        )

    def is_alive(self, host: str) -> bool:
        """Whether a host's sign of life is there; one that can't be read is one all the same."""
        key = keys.alive(host)
        return self.alive.get(key) is not None or self.alive.is_malformed(key)


def current_state() -> State:
    """The state of the worker that serves this request."""
    return cast(State, current_app.extensions["ucloud"])
