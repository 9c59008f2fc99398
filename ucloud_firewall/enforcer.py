"""From what is placed here to what is loaded: one thread that looks at what may have changed, and has it enforced.

A port whose network or groups can't be told keeps what it has: one that is new, nothing.
"""

import logging
import threading
from dataclasses import dataclass, field

from common import keys
from common.controller import Requests
from common.errors import TemporaryError, UcloudError
from common.local_ports import LocalPort, NetworkBook
from common.metrics import Metrics
from common.schemas.network import NetworkRequest
from ucloud_firewall.bridges import Bridges
from ucloud_firewall.groups import Groups
from ucloud_firewall.rights import BridgeRights, Members, Policy, PortRights, give_zones, groups_named, rights_of
from ucloud_firewall.wall import Wall

_log = logging.getLogger(__name__)
_FIRST_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 10.0
_LOOK_THROUGH_S = 60.0
_SYNC_S = 0.5
_TAP = "tap"


@dataclass
class _News:
    """What there is to look at."""

    ports: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    is_tampered: bool = False

    def add(self, other: "_News") -> None:
        self.ports |= other.ports
        self.groups |= other.groups
        self.is_tampered |= other.is_tampered

    def __bool__(self) -> bool:
        return bool(self.ports or self.groups or self.is_tampered)


class Enforcer:
    """Brings the kernel's rules to what the ports here may do. Its `look*` may be called by any thread."""

    def __init__(
        self,
        ports: Requests[LocalPort],
        networks: NetworkBook,
        groups: Groups,
        bridges: Bridges,
        wall: Wall,
        metrics: Metrics,
    ) -> None:
        self._ports = ports
        self._networks = networks
        self._groups = groups
        self._bridges = bridges
        self._wall = wall
        self._metrics = metrics
        self._arrived = threading.Condition()
        self._news = _News()
        self._is_closed = False
        self._rights: dict[str, PortRights] = {}
        self._network_of: dict[str, NetworkRequest] = {}
        self._undecided: dict[str, str] = {}
        self._members: dict[str, Members] = {}
        self._zones: dict[str, int] = {}
        self._problem: str | None = "the rules have not been looked at yet"
        ports.subscribe(lambda key: self.look(key.removeprefix(keys.PORT)))
        groups.subscribe(self.look_at_group)

    def look(self, port_id: str) -> None:
        """Something may have happened to a port."""
        self._tell(_News(ports={port_id}))

    def look_at_group(self, uuid: str) -> None:
        """Something may have happened to a group, or to who is in it."""
        self._tell(_News(groups={uuid}))

    def look_at_tables(self) -> None:
        """Somebody else may have changed the tables."""
        self._tell(_News(is_tampered=True))

    def close(self) -> None:
        """Let `run` end."""
        with self._arrived:
            self._is_closed = True
            self._arrived.notify()
        self._groups.close()

    def problem(self) -> str | None:
        """What keeps the rules from being what they should be, for /healthz."""
        if self._problem:
            return self._problem
        return next((f"port {port}: {why}" for port, why in self._undecided.copy().items()), None)

    def run(self, stop: threading.Event) -> None:
        """Enforce until `stop`; the body of a thread."""
        left, backoff_s, is_first = _News(is_tampered=True), 0.0, True
        while not stop.is_set():
            left.add(_News() if is_first else self._wait(backoff_s))
            if self._is_closed:
                return
            try:
                self._look_at_all(left)
            except UcloudError as error:
                self._fail(error)
            else:
                left = _News()
            is_first = False
            has_failed = left or self._undecided
            backoff_s = min(max(backoff_s * 2, _FIRST_BACKOFF_S), _MAX_BACKOFF_S) if has_failed else 0.0

    def _tell(self, news: _News) -> None:
        with self._arrived:
            self._news.add(news)
            self._arrived.notify()

    def _wait(self, backoff_s: float) -> _News:
        """What there is to look at, as soon as there is something; nothing, when the backoff is over."""
        timeout_s = backoff_s or (_LOOK_THROUGH_S if self._ports.wait_synced(0) else _SYNC_S)
        with self._arrived:
            self._arrived.wait_for(lambda: self._news or self._is_closed, timeout_s)
            found, self._news = self._news, _News()
        return found

    def _fail(self, error: UcloudError) -> None:
        self._problem = str(error)
        self._metrics.failures.labels(type(error).__name__).inc()
        _log.warning("%s", error)

    def _look_at_all(self, news: _News) -> None:
        if news.is_tampered and not self._wall.heal():
            self._zones = self._wall.close()
        if not self._ports.wait_synced(0):
            return
        here = {key.removeprefix(keys.PORT): cached.record for key, cached in self._ports.records().items()}
        self._follow(here)
        touched = news.ports | self._undecided.keys() | (here.keys() ^ self._rights.keys())
        touched |= {port for port, local in here.items() if not news.groups.isdisjoint(local.port.security_groups)}
        for port in touched:
            self._decide(port, here.get(port))
        self._gather_members(news.groups)
        self._networks.keep_only({local.port.network for local in here.values()})
        policy = self._policy()
        with self._metrics.reconcile_seconds.time():
            self._wall.enforce(policy, self._is_open_question)
        self._bridges.track(frozenset(port.bridge for port in policy.ports.values() if port.is_filtered))
        self._problem = None

    def _follow(self, here: dict[str, LocalPort]) -> None:
        """Follow the groups of the ports here, and those that are named by the rules of the ones that are known."""
        named = frozenset(uuid for local in here.values() for uuid in local.port.security_groups)
        self._groups.follow(named)

    def _decide(self, port_id: str, local: LocalPort | None) -> None:
        """Work out the rights of a port; they stay as they are while nobody can say what is requested."""
        if local is None:
            if not self._ports.is_malformed(keys.port(port_id)):
                for book in (self._rights, self._network_of, self._undecided):
                    book.pop(port_id, None)
            return
        try:
            network = self._networks.get(local.port.network)
            groups = {uuid: self._groups.group(uuid) for uuid in local.port.security_groups}
            rights = rights_of(local.port, network, groups)
            for uuid in groups_named([rights]):
                self._groups.members(uuid)
        except UcloudError as error:
            if self._undecided.get(port_id) != str(error):
                _log.info("port %s stays as it is: %s", port_id, error)
            self._undecided[port_id] = str(error)
        else:
            self._undecided.pop(port_id, None)
            self._rights[port_id], self._network_of[port_id] = rights, network

    def _gather_members(self, changed: set[str]) -> None:
        """Find who is in the groups that rights speak of; of one that is not followed any more, who was."""
        named = groups_named(self._rights.values())
        for uuid in named & changed | named - self._members.keys():
            try:
                self._members[uuid] = self._groups.members(uuid)
            except TemporaryError:
                self._members.setdefault(uuid, Members())
        self._members = {uuid: members for uuid, members in self._members.items() if uuid in named}

    def _policy(self) -> Policy:
        networks = {network.bridge: network for network in self._network_of.values()}
        self._zones = give_zones(networks, self._zones)
        bridges = {name: BridgeRights(name, self._zones[name], network.isolated) for name, network in networks.items()}
        return Policy({rights.tap: rights for rights in self._rights.values()}, bridges, dict(self._members))

    def _is_open_question(self, tap: str) -> bool:
        """Whether nobody can say if the port of a tap is to be here, or what it may do."""
        port_id = tap.removeprefix(_TAP)
        return port_id in self._undecided or self._ports.is_malformed(keys.port(port_id))
