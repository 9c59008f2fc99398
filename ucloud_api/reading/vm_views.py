"""VMs as this worker knows them: all that is known of one put together, and its JSON kept until something changes."""

import threading
from collections.abc import Callable
from typing import Any

from common import keys
from common.cache import Cached
from common.schemas.network import NetworkRequest, SecurityGroup
from common.schemas.vm import Placement, Role, VmRequest
from ucloud_api.reading import views
from ucloud_api.reading.views import VmFacts
from ucloud_api.worker.state import State

MOST_KEPT = 4096
_Revisions = tuple[Any, ...]


class VmViews:
    """Looks into the caches of a state; it never asks etcd."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[_Revisions, bytes]] = {}

    def facts(self, request: VmRequest) -> VmFacts:
        """All that is known of a VM."""
        return self._look(request)[0]

    def json(self, request: VmRequest, revision: int) -> bytes:
        """The resource of a VM whose request is that of `revision`."""
        facts, revisions = self._look(request)
        return self._render(facts, (revision, *revisions))

    def json_if(self, is_wanted: Callable[[VmFacts], bool], request: VmRequest, revision: int) -> bytes | None:
        """The same, if it is wanted."""
        facts, revisions = self._look(request)
        return self._render(facts, (revision, *revisions)) if is_wanted(facts) else None

    def _render(self, facts: VmFacts, revisions: _Revisions) -> bytes:
        uuid = facts.request.uuid
        kept = self._kept.get(uuid)
        if kept and kept[0] == revisions:
            return kept[1]
        resource = views.vm(facts).model_dump_json().encode()
        with self._lock:
            self._kept.pop(uuid, None)
            self._kept[uuid] = (revisions, resource)
            if len(self._kept) > MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        return resource

    def _look(self, request: VmRequest) -> tuple[VmFacts, _Revisions]:
        """What is known of a VM, and the revisions that it depends on."""
        state, uuid = self._state, request.uuid
        image = state.images.get(keys.image(request.image))
        word = state.vm_statuses.get(keys.vm_status(keys.NO_HOST, uuid))
        host, order = self._order(uuid)
        status = state.vm_statuses.get(keys.vm_status(host, uuid)) if host else None
        is_alive = host is None or state.is_alive(host)
        verdict = state.verdicts.get(keys.verdict(host)) if host and not is_alive else None
        named = self._named(request)
        facts = VmFacts(
            request,
            host,
            order.record if order else None,
            status.record if status else None,
            word.record if word else None,
            is_alive,
            image.record.name if image else None,
            verdict.record if verdict else None,
            {each.record.uuid: each.record.name for each in named if each},
        )
        revisions = tuple(_revision(each) for each in (order, status, word, image, verdict, *named))
        return facts, (host, is_alive, *revisions)

    def _named(self, request: VmRequest) -> list[Cached[NetworkRequest] | Cached[SecurityGroup] | None]:
        """The networks and security groups of a VM's ports."""
        found: list[Cached[NetworkRequest] | Cached[SecurityGroup] | None] = []
        for port in request.ports:
            found.append(self._state.networks.get(keys.network(port.network)))
            found += [self._state.groups.get(keys.security_group(group)) for group in port.security_groups]
        return found

    def _order(self, uuid: str) -> tuple[str | None, Cached[Placement] | None]:
        """The host that runs a VM, and the order to it; a later epoch supersedes an earlier one."""
        host, order = None, None
        for each in self._state.index.hosts_of(uuid):
            placed = self._state.placements.get(keys.placement(each, uuid))
            if placed and placed.record.role is Role.RUN and (not order or placed.record.epoch > order.record.epoch):
                host, order = each, placed
        return host, order


def _revision(cached: Cached[Any] | None) -> int:
    return cached.mod_revision if cached else 0
