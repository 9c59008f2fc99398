"""Groups of VMs that are to share a host, or to share none. Pure.

A group belongs to one owner, and its members are the VMs that name it. What is `hard` binds both sides: a VM that is
hard apart keeps other members of the group away from its host, whatever those say of it.
"""

from collections.abc import Mapping
from types import MappingProxyType

from common.schemas.vm import Affinity, VmRequest
from ucloud_scheduler.views import Members

_NOBODY: Mapping[str, Affinity] = MappingProxyType({})
_NOWHERE: Mapping[str, Mapping[str, Affinity]] = MappingProxyType({})


class GroupIndex:
    """The members of all groups and where they are, kept current placement by placement."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], dict[str, dict[str, Affinity]]] = {}
        self._of: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {}

    @property
    def members(self) -> Members:
        """All of them; a view, not a copy."""
        return self._groups

    def set(self, host: str, vm_uuid: str, request: VmRequest | None) -> None:
        """A VM is on a host, as a member of the groups that `request` names; None: it is not there."""
        for group in self._of.pop((host, vm_uuid), ()):
            hosts = self._groups[group]
            del hosts[host][vm_uuid]
            if not hosts[host]:
                del hosts[host]
            if not hosts:
                del self._groups[group]
        if request and request.affinity:
            named = {(request.owner, wish.group): wish for wish in request.affinity}
            self._of[host, vm_uuid] = tuple(named)
            for group, wish in named.items():
                self._groups.setdefault(group, {}).setdefault(host, {})[vm_uuid] = wish


class Groups:
    """The members of all groups as a plan sees them: those of the snapshot, and those that it placed since."""

    def __init__(self, members: Members) -> None:
        self._before = members
        self._since: dict[tuple[str, str], dict[str, dict[str, Affinity]]] = {}

    def join(self, request: VmRequest, host: str) -> None:
        """A VM was placed on `host`."""
        for wish in request.affinity:
            hosts = self._since.setdefault((request.owner, wish.group), {})
            hosts.setdefault(host, {})[request.uuid] = wish

    def misfit(self, request: VmRequest, host: str, leaves: str | None = None) -> str | None:
        """Which group forbids `host` to a VM, in words, or None. The VM is to leave the host `leaves`, if any.

        Members on the host that the VM leaves bind it no more: together, they could go nowhere.
        """
        for wish in request.affinity:
            group = (request.owner, wish.group)
            here = self._on(group, host, request.uuid)
            if (wish.apart and wish.hard and here) or any(each.apart and each.hard for each in here.values()):
                return f"apart from group {wish.group}"
            if here:
                continue
            is_bound = wish.hard and not wish.apart
            for other in self._hosts(group):
                there = self._on(group, other, request.uuid) if other not in (host, leaves) else _NOBODY
                if there and (is_bound or any(each.hard and not each.apart for each in there.values())):
                    return f"group {wish.group} is elsewhere"
        return None

    def dislikes(self, request: VmRequest, host: str) -> int:
        """How many of a VM's preferences `host` goes against."""
        count = 0
        for wish in request.affinity:
            group = (request.owner, wish.group)
            here = self._on(group, host, request.uuid)
            # Before the first member is anywhere, every host is as good to be together on.
            is_elsewhere = not here and any(self._on(group, other, request.uuid) for other in self._hosts(group))
            count += bool(here) if wish.apart else is_elsewhere
        return count

    def _hosts(self, group: tuple[str, str]) -> set[str]:
        return {*self._before.get(group, _NOWHERE), *self._since.get(group, _NOWHERE)}

    def _on(self, group: tuple[str, str], host: str, but: str) -> dict[str, Affinity]:
        """The members of a group on a host, without one of them."""
        before = self._before.get(group, _NOWHERE).get(host, _NOBODY)
        since = self._since.get(group, _NOWHERE).get(host, _NOBODY)
        return {vm_uuid: wish for vm_uuid, wish in (*before.items(), *since.items()) if vm_uuid != but}
