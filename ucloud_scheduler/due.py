"""VMs that are due to be looked at, in lanes that take turns: whoever stands in a short lane waits for no long one.

One lane goes before the others, which get at least half of each turn nevertheless.
"""

from collections import OrderedDict


class Due:
    """A queue of many lanes. A VM stands in one lane at a time, and in each lane those that came first go first."""

    def __init__(self, first: str) -> None:
        """`first` is the lane that goes before the others."""
        self._first = first
        self._lanes: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()
        self._lane_of: dict[str, str] = {}

    def add(self, vm_uuid: str, lane: str) -> None:
        """A VM stands in `lane` from now on, at its place if it stands there already."""
        if self._lane_of.get(vm_uuid) == lane:
            return
        self.discard(vm_uuid)
        self._lane_of[vm_uuid] = lane
        self._lanes.setdefault(lane, OrderedDict())[vm_uuid] = None

    def discard(self, vm_uuid: str) -> None:
        """A VM is not due."""
        lane = self._lane_of.pop(vm_uuid, None)
        if lane is None:
            return
        del self._lanes[lane][vm_uuid]
        if not self._lanes[lane]:
            del self._lanes[lane]

    def take(self, limit: int) -> list[str]:
        """Take up to `limit` VMs: up to half of them from the first lane, the rest as evenly from all as can be."""
        first = self._lanes.get(self._first, OrderedDict())
        taken = [first.popitem(last=False)[0] for _ in range(min((limit + 1) // 2, len(first)))]
        if taken and not first:
            del self._lanes[self._first]
        while self._lanes and len(taken) < limit:
            share = max(1, (limit - len(taken)) // len(self._lanes))
            for _ in range(min(len(self._lanes), limit - len(taken))):
                name, lane = self._lanes.popitem(last=False)
                taken += [lane.popitem(last=False)[0] for _ in range(min(share, len(lane), limit - len(taken)))]
                if lane:
                    self._lanes[name] = lane  # behind all others
        for vm_uuid in taken:
            del self._lane_of[vm_uuid]
        return taken

    def clear(self) -> None:
        """Nothing is due."""
        self._lanes.clear()
        self._lane_of.clear()

    def __contains__(self, vm_uuid: str) -> bool:
        return vm_uuid in self._lane_of

    def has(self, lane: str) -> bool:
        """Whether anything stands in `lane`."""
        return lane in self._lanes

    def __len__(self) -> int:
        return len(self._lane_of)
