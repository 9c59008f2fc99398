"""Who is answered what, from what the placements tell."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from common import keys
from common.cache import Cache
from common.local_ports import LocalPorts
from common.metrics import Metrics
from common.schemas.network import NetworkRequest
from common.schemas.vm import Placement, Role, VmRequest
from common.store import EtcdOptions, Store
from tests.unit.ucloud_meta.vms import INNER, NOW, OUTER, WEB, ZONE, port, request
from ucloud_meta.answer import Answer, Request
from ucloud_meta.desk import Asker, Desk
from ucloud_meta.manners import Manners
from ucloud_meta.rates import Rate

OTHER = request(port(3, INNER, "10.7.0.6"), name="other")
WEB_MAC, OTHER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:03"
WEB_V6 = "2001:db8:7::ff:fe00:1"
TTL = "x-aws-ec2-metadata-token-ttl-seconds"


class Rig:
    """A desk before a cache that nobody fills but the test."""

    def __init__(self) -> None:
        self.cache = Cache(Store(EtcdOptions(("[::1]:1",))), keys.placements("h1"), Placement, Metrics())
        self.networks: dict[str, NetworkRequest] = {INNER.uuid: INNER, OUTER.uuid: OUTER}
        here = LocalPorts(self.cache)
        manners = Manners("cloud.example")
        self.desk = Desk(self.cache, here, self.networks, lambda: ZONE, manners, Rate(per_s=0.001, burst=20))
        self._revision = 0

    def place(self, vm: VmRequest, role: Role | None = Role.RUN) -> None:
        """As the scheduler writes it; None: it takes it away."""
        self._revision += 1
        key = keys.placement("h1", vm.uuid)
        record = Placement(epoch=1, role=role, generation=1, request=vm, placed_at=NOW) if role else None
        self.cache.note(key, record, self._revision)
        for listener in self.cache._listeners:
            listener(key)

    def ask(self, mac: str | None, address: str = WEB_V6, network: str = INNER.uuid, **more: str) -> Answer:
        """Ask for the instance-id."""
        fields = {"host": ("metadata",), **{name: (value,) for name, value in more.items()}}
        return self._answer(mac, address, network, Request("GET", "/latest/meta-data/instance-id", fields))

    def token(self, ttl: str | None) -> Answer:
        """Ask for a token."""
        fields = {"host": ("metadata",), **({TTL: (ttl,)} if ttl is not None else {})}
        return self._answer(WEB_MAC, WEB_V6, INNER.uuid, Request("PUT", "/latest/api/token", fields))

    def _answer(self, mac: str | None, address: str, network: str, asked: Request) -> Answer:
        parsed = ip_address(address)
        assert isinstance(parsed, IPv4Address | IPv6Address)
        return self.desk.answer(Asker(network, parsed, mac), asked)


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.place(WEB)
    rig.place(OTHER)
    return rig


def test_each_is_told_of_itself(rig: Rig) -> None:
    assert rig.ask(WEB_MAC).body == b"uuid-of-web"
    assert rig.ask(OTHER_MAC, "10.7.0.6").body == b"uuid-of-other"
    assert rig.ask("02:00:00:00:00:02", "2001:db8:8::ff:fe00:2", OUTER.uuid).body == b"uuid-of-web"


@pytest.mark.parametrize("address", [WEB_V6, "10.7.0.5", "fe80::ff:fe00:1", "fe80::1234"])
def test_a_port_may_speak_from_what_is_its_own(rig: Rig, address: str) -> None:
    assert rig.ask(WEB_MAC, address).body == b"uuid-of-web"


@pytest.mark.parametrize(
    ("mac", "address", "network"),
    [
        (None, WEB_V6, "net-1"),
        ("", WEB_V6, "net-1"),
        ("02:00:00:00:00:09", WEB_V6, "net-1"),
        ("06:00:00:00:00:01", WEB_V6, "net-1"),
        ("02:00:00:00:00:01:00", WEB_V6, "net-1"),
        (WEB_MAC, WEB_V6, "net-2"),
        (WEB_MAC, WEB_V6, "net-9"),
        (WEB_MAC, "10.7.0.6", "net-1"),
        (WEB_MAC, "169.254.3.4", "net-1"),
        (WEB_MAC, "2001:db8:7::1", "net-1"),
        (WEB_MAC, "2001:db8:100:5::1", "net-1"),
        (OTHER_MAC, WEB_V6, "net-1"),
    ],
)
def test_nobody_else_is_answered(rig: Rig, mac: str | None, address: str, network: str) -> None:
    answer = rig.ask(mac, address, network)
    assert (answer.status, answer.body, answer.keeps) == (403, b"403 Forbidden\n", False)


@pytest.mark.parametrize("role", [Role.LEFT, None])
def test_who_has_left_is_answered_no_more(rig: Rig, role: Role | None) -> None:
    assert rig.ask(WEB_MAC).status == 200
    rig.place(WEB, role)
    assert rig.ask(WEB_MAC).status == 403
    assert rig.ask(OTHER_MAC, "10.7.0.6").status == 200


def test_who_arrives_is_answered(rig: Rig) -> None:
    rig.place(WEB, Role.INCOMING)
    assert rig.ask(WEB_MAC).status == 200


def test_what_changes_is_told_at_once(rig: Rig) -> None:
    rig.place(WEB.model_copy(update={"uuid": "uuid-of-web", "generation": 2, "ssh_keys": ()}))
    fields = {"host": ("metadata",)}
    asked = Request("GET", "/latest/meta-data/public-keys/", fields)
    assert rig.desk.answer(Asker(INNER.uuid, IPv6Address(WEB_V6), WEB_MAC), asked).status == 404


def test_a_network_that_is_not_known_yet_is_waited_for(rig: Rig) -> None:
    del rig.networks[OUTER.uuid]
    answer = rig.ask(WEB_MAC)
    assert (answer.status, answer.fields) == (503, {"retry-after": "2"})
    assert rig.ask(OTHER_MAC, "10.7.0.6").status == 200


def test_too_many_questions_of_one_are_no_trouble_for_another(rig: Rig) -> None:
    statuses = [rig.ask(WEB_MAC).status for _ in range(21)]
    assert statuses == [200] * 20 + [429]
    # All of its ports count as one.
    refused = rig.ask("02:00:00:00:00:02", "2001:db8:8::ff:fe00:2", OUTER.uuid)
    assert refused.status == 429
    assert int(refused.fields["retry-after"]) > 0
    assert rig.ask(OTHER_MAC, "10.7.0.6").status == 200
    assert [rig.ask(None).status for _ in range(21)] == [403] * 20 + [429]
    assert rig.ask(OTHER_MAC, "10.7.0.6").status == 200


def test_tokens_are_given_to_who_insists_on_them(rig: Rig) -> None:
    answer = rig.token("21600")
    assert (answer.status, answer.fields) == (200, {TTL: "21600"})
    assert len(answer.body) > 40
    assert rig.token("1").body != answer.body
    assert rig.ask(WEB_MAC, **{"x-aws-ec2-metadata-token": answer.body.decode()}).body == b"uuid-of-web"
    for ttl in (None, "", "0", "21601", "-1", "1.5", "\u0661", "9" * 5000):
        assert rig.token(ttl).status == 400


def test_a_query_is_no_part_of_a_path_and_a_refused_request_is_not_answered(rig: Rig) -> None:
    assert rig.ask(WEB_MAC, via="x").status == 403
    asked = Request("GET", "/latest/meta-data/instance-id?x=/y", {"host": ("metadata",)})
    assert rig.desk.answer(Asker(INNER.uuid, IPv6Address(WEB_V6), WEB_MAC), asked).body == b"uuid-of-web"
