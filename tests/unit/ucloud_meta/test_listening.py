"""Which networks are served, as VMs, networks and bridges come and go."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from common import keys
from common.errors import TemporaryError
from common.schemas.network import NetworkRequest
from devcloud.waiting import wait_for
from tests.unit.ucloud_meta.vms import INNER, NETWORKS, OUTER
from ucloud_meta.listening import Listening

DEADLINE_S = 20.0


class FakeView:
    """The networks with VMs here."""

    def __init__(self) -> None:
        self.here: dict[str, Any] = {}
        self.malformed = False
        self.listener: Any = None

    def subscribe(self, listener: Any) -> None:
        self.listener = listener

    def get(self, key: str) -> Any:
        return self.here.get(key)

    def records(self) -> dict[str, Any]:
        return dict(self.here)

    def is_malformed(self, _key: str) -> bool:
        return self.malformed


class FakeHere:
    """What there is of the placements."""

    def __init__(self) -> None:
        self.networks = FakeView()


class FakeBook:
    """Knows the networks, unless etcd is away."""

    def __init__(self) -> None:
        self.is_away = False
        self.kept: frozenset[str] = frozenset()

    def get(self, uuid: str) -> NetworkRequest:
        if self.is_away:
            raise TemporaryError("away")
        return NETWORKS[uuid]

    def keep_only(self, uuids: Any) -> None:
        self.kept = frozenset(uuids)


class Rig:
    """A Listening in a thread; links and counters are dictionaries."""

    def __init__(self) -> None:
        self.here, self.book = FakeHere(), FakeBook()
        self.links: dict[str, int] = {}
        self.served: dict[str, int] = {}
        self.is_port_taken = False
        here: Any = self.here
        book: Any = self.book
        self.listening = Listening(here, book, self, self.links.get, self._listen)
        self.thread = threading.Thread(target=self.listening.run, args=(threading.Event(),))
        self.thread.start()

    def _listen(self, _ifindex: int) -> socket.socket:
        if self.is_port_taken:
            raise OSError(98, "Address already in use")
        return socket.socket()

    def serve(self, network: str, ifindex: int, listener: socket.socket) -> None:
        listener.close()
        self.served[network] = ifindex

    def leave(self, network: str) -> None:
        del self.served[network]

    def use(self, network: NetworkRequest, *, used: bool = True) -> None:
        """A VM on it comes, or the last one goes."""
        key = keys.network(network.uuid)
        if used:
            self.here.networks.here[key] = object()
        else:
            del self.here.networks.here[key]
        self.here.networks.listener(key)

    def wait(self, **served: int) -> None:
        """Wait until exactly these are served."""
        wanted = {name.replace("_", "-"): index for name, index in served.items()}
        wait_for(f"{wanted} served", lambda: self.served == wanted, DEADLINE_S)


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.listening.close()
    rig.thread.join(DEADLINE_S)
    assert not rig.thread.is_alive()


def test_a_network_is_served_for_as_long_as_it_has_vms_and_a_bridge(rig: Rig) -> None:
    rig.links["ucbr7"] = 12
    rig.use(INNER)
    rig.use(OUTER)
    rig.wait(net_1=12)
    rig.links["ucbr8"] = 13
    rig.listening.hint("ucbr8")
    rig.wait(net_1=12, net_2=13)
    del rig.links["ucbr7"]
    rig.listening.hint("ucbr7")
    rig.wait(net_2=13)
    rig.use(OUTER, used=False)
    rig.wait()
    wait_for("forgotten", lambda: set(rig.listening.networks) == rig.book.kept == {"net-1"}, DEADLINE_S)


def test_another_bridge_of_the_same_name_is_another_one(rig: Rig) -> None:
    rig.links["ucbr7"] = 12
    rig.use(INNER)
    rig.wait(net_1=12)
    rig.links["ucbr7"] = 14
    rig.listening.hint("ucbr7")
    rig.wait(net_1=14)


def test_lost_news_are_made_up_for(rig: Rig) -> None:
    rig.use(INNER)
    wait_for("looked at", lambda: INNER.uuid in rig.listening.networks, DEADLINE_S)
    rig.links["ucbr7"] = 12
    rig.listening.hint("eth0")
    rig.listening.hint("ucbr9")
    rig.listening.hint(None)
    rig.wait(net_1=12)


def test_what_fails_is_told_and_tried_again(rig: Rig) -> None:
    rig.links["ucbr7"] = 12
    rig.book.is_away = True
    rig.use(INNER)
    wait_for("told", lambda: rig.listening.problem() == "network net-1: away", DEADLINE_S)
    rig.book.is_away, rig.is_port_taken = False, True
    wait_for("told", lambda: "in use" in (rig.listening.problem() or ""), DEADLINE_S)
    rig.is_port_taken = False
    rig.wait(net_1=12)
    wait_for("well", lambda: rig.listening.problem() is None, DEADLINE_S)


def test_while_nobody_can_say_it_stays_as_it_is(rig: Rig) -> None:
    rig.links["ucbr7"] = rig.links["ucbr8"] = 12
    rig.use(INNER)
    rig.wait(net_1=12)
    rig.here.networks.malformed = True
    rig.use(INNER, used=False)
    rig.use(OUTER)
    rig.wait(net_1=12, net_2=12)
