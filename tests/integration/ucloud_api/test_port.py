"""VMs on networks over HTTP: what their ports hold is theirs alone, from creation to the last of them gone."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest
from flask.testing import FlaskClient

from common import admission, keys
from common.schemas.network import AddressHolder, NetworkRequest
from common.schemas.port import eui64, mac_of
from common.schemas.vm import Actual, VmRequest
from common.store import MAX_OPERATIONS, Store
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_api.client import Client
from tests.integration.ucloud_api.test_network import caller, held
from tests.integration.ucloud_api.world import NOBODY, World

SPECS = {"cpu": 1, "ram": 1, "ssd": 4}
VM: dict[str, Any] = {"name": "web", "specs": SPECS, "image": "debian"}
PREFIX = "fd00:9::/64"
LAN = {"name": "lan", "prefix": PREFIX, "ipv4": "10.9.0.0/24"}


@pytest.fixture(autouse=True)
def image(api: FlaskClient, world: World) -> str:
    return world.add_image()


@pytest.fixture
def lan(api: FlaskClient) -> str:
    """The uuid of a network with IPv4."""
    answer = api.post("/v1/network", json=LAN)
    assert answer.status_code == 201, answer.text
    return str(answer.get_json()["uuid"])


def on(*networks: Any, **more: Any) -> dict[str, Any]:
    return {**VM, "networks": [each if isinstance(each, dict) else {"network": each} for each in networks], **more}


def holder(store: Store, network: str, address: str) -> AddressHolder:
    entry = store.get(keys.address(network, address))
    assert entry, f"nobody holds {address}"
    return AddressHolder.read(entry.key, entry.value)


def test_a_vm_has_ports_whose_keys_go_with_it(api: FlaskClient, world: World, store: Store, lan: str) -> None:
    api.post("/v1/network", json={"name": "other"})
    group = api.post("/v1/security-group", json={"name": "web"}).get_json()["uuid"]
    before = held(store)
    wanted = {"network": "lan", "ipv4": True, "prefixes": 2, "security_groups": ["web", group]}
    answer = api.post("/v1/vm", json=on(wanted, "other"))
    assert answer.status_code == 202, answer.text
    vm = answer.get_json()
    first, second = vm["ports"]
    assert (first["network"], second["network"]["name"]) == ({"uuid": lan, "name": "lan"}, "other")
    assert first["mac"] == mac_of(first["id"])
    assert IPv6Address(first["ipv6"]) == eui64(IPv6Network(PREFIX), first["id"])
    assert first["ipv4"].startswith("10.9.0.")
    assert first["security_groups"] == [{"uuid": group, "name": "web"}]
    assert (second["ipv4"], second["prefixes"], second["security_groups"]) == (None, [], [])
    assert vm["addresses"] == [first["ipv6"], first["ipv4"], second["ipv6"]]
    for address in (first["ipv6"], first["ipv4"]):
        assert holder(store, lan, address) == AddressHolder(vm=vm["uuid"], port=first["id"], name="web")
        assert store.get(keys.group_member(group, address, first["id"]))
    for prefix in map(IPv6Network, first["prefixes"]):
        assert prefix.prefixlen == 64
        assert store.get(keys.prefix(str(prefix.network_address))).value == vm["uuid"].encode()  # type: ignore[union-attr]
    assert api.get(f"/v1/vm/{vm['uuid']}").get_json()["ports"] == vm["ports"]
    request = world.request_of(vm["uuid"])
    assert [port.id for port in request.ports] == [first["id"], second["id"]]
    # A host that is told of more addresses than those of the ports adds them.
    world.add_host()
    world.run(vm["uuid"])
    world.forget(vm["uuid"])
    assert held(store) == {**before, **{key: value for key, value in held(store).items() if key in _of_host("h1")}}


def _of_host(name: str) -> tuple[str, ...]:
    return (keys.host_status(name), keys.alive(name))


def test_a_rename_is_told_to_who_answers_names(api: FlaskClient, world: World, store: Store, lan: str) -> None:
    vm = api.post("/v1/vm", json=on({"network": lan, "ipv4": "10.9.0.7"})).get_json()
    assert api.patch(f"/v1/vm/{vm['uuid']}", json={"name": "www"}).status_code == 202
    for address in vm["addresses"]:
        assert holder(store, lan, address).name == "www"
    world.forget(vm["uuid"])
    assert not store.list(keys.ADDRESS).entries


@pytest.mark.parametrize(
    ("port", "status", "field"),
    [
        ({}, 422, "networks.0.network"),
        ({"network": "nowhere"}, 404, "networks.0.network"),
        ({"network": NOBODY}, 404, "networks.0.network"),
        ({"network": "private-of-ann"}, 404, "networks.0.network"),
        ({"network": "Lan"}, 422, "networks.0.network"),
        ("lan", 422, "networks.0"),
        ({"network": "lan", "colour": "red"}, 422, "networks.0.colour"),
        *[
            ({"network": "lan", "ipv6": address}, 422, "networks.0.ipv6")
            for address in (
                *("fd00:8::5", "fd00:9::", "fd00:9::fdff:ffff:ffff:ff80", "fd00:9::fdff:ffff:ffff:ffff"),
                *("fd00:9::ff:fe00:1", "fd00:9::5%eth0", "10.9.0.5", "fe80::1", "x", 5, True),
            )
        ],
        *[
            ({"network": "lan", "ipv4": address}, 422, "networks.0.ipv4")
            for address in ("10.8.0.5", "10.9.0.0", "10.9.0.255", "fd00:9::5", "010.9.0.5", "true", 1, None)
        ],
        ({"network": "v6", "ipv4": True}, 422, "networks.0.ipv4"),
        ({"network": "v6", "ipv4": "10.9.0.5"}, 422, "networks.0.ipv4"),
        *[({"network": "lan", "prefixes": count}, 422, "networks.0.prefixes") for count in (-1, 9, "1", True)],
        ({"network": "lan", "security_groups": ["nothing"]}, 404, "networks.0.security_groups"),
        ({"network": "lan", "security_groups": ["group-of-ann"]}, 404, "networks.0.security_groups"),
        ({"network": "lan", "security_groups": ["Web"]}, 422, "networks.0.security_groups.0"),
        ({"network": "lan", "security_groups": ["a"] * 9}, 422, "networks.0.security_groups"),
    ],
)
def test_what_is_no_port_is_refused_with_its_field(
    api: FlaskClient, world: World, lan: str, port: Any, status: int, field: str
) -> None:
    ann, bob = caller(api, world, "ann"), caller(api, world, "bob")
    ann.post("/v1/network", json={"name": "private-of-ann"})
    ann.post("/v1/security-group", json={"name": "group-of-ann"})
    api.patch(f"/v1/network/{lan}", json={"public": True})
    bob.post("/v1/network", json={"name": "v6"})
    count = len(world.store.list(keys.ROOT).entries)
    answer = bob.post("/v1/vm", json={**VM, "networks": [port]})
    assert answer.status_code == status, answer.text
    error = answer.get_json()["errors"][0]
    assert error["field"] == field
    assert error["problem"]
    assert error["allowed"]
    assert len(world.store.list(keys.ROOT).entries) == count


def test_nobody_has_too_many_ports_or_too_much_on_them(api: FlaskClient, world: World, store: Store, lan: str) -> None:
    assert api.post("/v1/vm", json=on(*["lan"] * 9)).get_json()["errors"][0]["field"] == "networks"
    names = [f"g{number}" for number in range(8)]
    for name in names:
        assert api.post("/v1/security-group", json={"name": name}).status_code == 201
    most = {"network": lan, "ipv4": True, "prefixes": 8, "security_groups": names}
    refused = api.post("/v1/vm", json=on(*[most] * 8))
    assert (refused.status_code, refused.get_json()["errors"][0]["field"]) == (422, "networks")
    before = held(store)
    # As much as there may be, still in one transaction, released by the scheduler in one, too.
    fits = api.post("/v1/vm", json=on(*[most] * 3, *["lan"] * 5), headers={"Idempotency-Key": "k"})
    assert fits.status_code == 202, fits.text
    vm = world.request_of(fits.get_json()["uuid"])
    assert admission.MOST_PORT_KEYS - 10 < len(admission.port_keys(vm)) <= admission.MOST_PORT_KEYS
    assert len(admission.release_vm(vm, 1).operations) < MAX_OPERATIONS - 8
    full = api.post(f"/v1/vm/{vm.uuid}/port", json={"network": lan})
    assert (full.status_code, full.get_json()["type"]) == (409, "urn:ucloud:problem:too-many-ports")
    assert api.patch(f"/v1/vm/{vm.uuid}", json={"name": "other"}).status_code == 202
    world.forget(vm.uuid)
    assert held(store) == before


def test_an_address_is_one_ports(api: FlaskClient, world: World, lan: str) -> None:
    api.patch(f"/v1/network/{lan}", json={"public": True})
    ann = caller(api, world, "ann")
    own = {"network": lan, "ipv6": "fd00:9::5", "ipv4": "10.9.0.5"}
    vm = api.post("/v1/vm", json=on(own)).get_json()
    for field in ("ipv6", "ipv4"):
        taken = ann.post("/v1/vm", json=on({"network": lan, field: own[field]}))
        assert (taken.status_code, taken.get_json()["type"]) == (409, "urn:ucloud:problem:address-taken")
        assert taken.get_json()["errors"][0]["field"] == f"networks.0.{field}"
        assert vm["uuid"] not in taken.text
    twice = ann.post("/v1/vm", json=on({"network": lan, "ipv6": "fd00:9::6"}, {"network": lan, "ipv6": "fd00:9::6"}))
    assert twice.get_json()["errors"][0]["field"] == "networks.1.ipv6"
    world.forget(vm["uuid"])
    assert ann.post("/v1/vm", json=on(own)).status_code == 202


def test_addresses_end(api: FlaskClient) -> None:
    api.post("/v1/network", json={"name": "tiny", "ipv4": "10.1.0.0/29"})
    tiny = {"network": "tiny", "ipv4": True}
    vms = [api.post("/v1/vm", json=on(tiny, tiny, name=f"vm{number}")).get_json() for number in range(3)]
    drawn = [port["ipv4"] for vm in vms for port in vm["ports"]]
    assert sorted(drawn) == sorted(map(str, IPv4Network("10.1.0.0/29").hosts()))
    full = api.post("/v1/vm", json=on(tiny, name="late"))
    assert (full.status_code, full.get_json()["type"]) == (409, "urn:ucloud:problem:no-address-left")


def test_a_network_that_vms_use_stays(api: FlaskClient, world: World, lan: str) -> None:
    api.patch(f"/v1/network/{lan}", json={"public": True})
    ann = caller(api, world, "ann")
    own = api.post("/v1/vm", json=on(lan)).get_json()["uuid"]
    of_ann = ann.post("/v1/vm", json=on("lan")).get_json()["uuid"]
    refused = api.delete(f"/v1/network/{lan}")
    assert (refused.status_code, refused.get_json()["type"]) == (409, "urn:ucloud:problem:network-in-use")
    assert own in refused.text
    assert ann.delete(f"/v1/network/{lan}").status_code == 403
    world.forget(own)
    world.forget(of_ann)
    assert api.delete(f"/v1/network/{lan}").status_code == 204


def test_ports_are_plugged_and_unplugged(api: FlaskClient, world: World, store: Store, lan: str) -> None:
    before = held(store)
    world.add_host()
    vm = api.post("/v1/vm", json=VM).get_json()
    path = f"/v1/vm/{vm['uuid']}"
    world.run(vm["uuid"])
    headers = {"Idempotency-Key": "k"}
    body = {"network": "lan", "ipv4": "10.9.0.9"}
    answers = [api.post(f"{path}/port", json=body, headers=headers) for _ in range(2)]
    assert {each.status_code for each in answers} == {202}, answers[0].text
    assert answers[0].get_json() == answers[1].get_json()
    changed = answers[0].get_json()
    (port,) = changed["ports"]
    assert (changed["generation"], port["network"]["name"], port["ipv4"]) == (2, "lan", "10.9.0.9")
    assert holder(store, lan, "10.9.0.9").vm == vm["uuid"]
    taken = api.post(f"{path}/port", json=body)
    assert (taken.status_code, taken.get_json()["errors"][0]["field"]) == (409, "ipv4")
    assert api.post(f"{path}/port", json={"network": "lan"}).get_json()["generation"] == 3
    stale = api.delete(f"{path}/port/{port['id']}", headers={"If-Match": answers[0].headers["ETag"]})
    assert stale.status_code == 412
    gone = api.delete(f"{path}/port/{port['id']}")
    assert (gone.status_code, gone.get_json()["generation"], len(gone.get_json()["ports"])) == (202, 4, 1)
    assert api.delete(f"{path}/port/{port['id']}").status_code == 404
    assert store.get(keys.address(lan, "10.9.0.9")) is None
    assert store.get(keys.port(port["id"])) is None
    words = [each["what"] for each in api.get(f"{path}/events").get_json()["items"]]
    assert words[-1] == f"asked to be unplugged from network {lan} (port {port['id']}, {port['ipv6']})"
    world.forget(vm["uuid"])
    world.remove(keys.host_status("h1"))
    world.remove(keys.alive("h1"))
    assert held(store) == before


def test_ports_change_where_a_resize_may(api: FlaskClient, world: World, lan: str) -> None:
    world.add_host()
    vm = api.post("/v1/vm", json=on(lan)).get_json()
    path, port = f"/v1/vm/{vm['uuid']}", vm["ports"][0]["id"]
    world.place(vm["uuid"])
    for actual, status in ((Actual.MIGRATING, 409), (Actual.DELETING, 409), (Actual.STOPPED, 202)):
        world.report(vm["uuid"], actual)
        fresh = {"Cache-Control": "no-cache"}
        answers = [
            api.post(f"{path}/port", json={"network": lan}, headers=fresh),
            api.delete(f"{path}/port/{port}", headers=fresh),
        ]
        assert {each.status_code for each in answers} == {status}, (actual, answers[0].text)
        if status == 409:
            assert answers[0].get_json()["errors"][0]["field"] == "ports"


def test_of_many_who_want_one_address_exactly_one_gets_it(served: DaemonProcess, world: World, store: Store) -> None:
    admin = Client(f"http://[::1]:{served.port}/v1", world.log_in("admin"))
    lan = admin.post("/network", json={**LAN, "public": True}).json()["uuid"]
    clients = [Client.logged_in(served, world, f"u{number}") for number in range(6)]
    wanted = on({"network": lan, "ipv6": "fd00:9::5"}, name="a")

    def want(client: Client) -> int:
        return int(client.post("/vm", json=wanted).status_code)

    with ThreadPoolExecutor(len(clients)) as pool:
        assert sorted(pool.map(want, clients)) == [202] + [409] * 5
    (entry,) = store.list(keys.VM).entries
    assert holder(store, lan, "fd00:9::5").vm == keys.last_part(entry.key)


def test_a_network_that_is_deleted_while_vms_are_made_has_none(
    served: DaemonProcess, world: World, store: Store
) -> None:
    """Whoever is first wins: either the network goes and no VM is on it, or it stays with all of them."""
    clients = [Client(f"http://[::1]:{served.port}/v1", world.log_in("admin")) for _ in range(4)]
    before = {key for key in held(store) if not key.startswith(keys.ALIVE)}
    seen: Counter[int] = Counter()
    for turn in range(6):
        lan = clients[0].post("/network", json=LAN).json()["uuid"]

        def make(number: int, lan: str = lan, turn: int = turn) -> int:
            wanted = on(lan, name=f"vm-{turn}-{number}")
            if number == turn % 4:
                return int(clients[number].delete(f"/network/{lan}").status_code)
            return int(clients[number].post("/vm", json=wanted).status_code)

        with ThreadPoolExecutor(len(clients)) as pool:
            statuses = list(pool.map(make, range(len(clients))))
        assert set(statuses) <= {202, 204, 404, 409}
        seen.update(statuses)
        vms = [VmRequest.read(entry.key, entry.value) for entry in store.list(keys.VM).entries]
        assert len(vms) == statuses.count(202)
        is_there = store.get(keys.network(lan)) is not None
        assert is_there is (204 not in statuses)
        assert not vms or is_there
        for vm in vms:
            world.forget(vm.uuid)
        if is_there:
            assert clients[0].delete(f"/network/{lan}").status_code == 204
        assert {key for key in held(store) if not key.startswith(keys.ALIVE)} == before
    assert seen[204] or seen[202]


def test_records_from_before_there_were_networks_are_read(api: FlaskClient, world: World, store: Store) -> None:
    vm = api.post("/v1/vm", json=VM).get_json()
    old = world.request_of(vm["uuid"]).model_dump_json(
        exclude={"ports", "ssh_keys", "user_data", "hostname"}, exclude_none=True
    )
    world.put(keys.vm(vm["uuid"]), old.encode())
    fresh = {"Cache-Control": "no-cache"}
    shown = api.get(f"/v1/vm/{vm['uuid']}", headers=fresh).get_json()
    assert (shown["ports"], shown["ssh_keys"], shown["guest_hostname"]) == ([], [], "web")
    assert api.patch(f"/v1/vm/{vm['uuid']}", json={"name": "www"}).status_code == 202
    world.forget(vm["uuid"])
    assert not [entry for entry in store.list(keys.USER).entries if b"web" in entry.value]


def test_a_renamed_network_is_shown_so(api: FlaskClient, lan: str) -> None:
    vm = api.post("/v1/vm", json=on(lan)).get_json()
    assert api.patch(f"/v1/network/{lan}", json={"name": "office"}).status_code == 200
    assert api.get(f"/v1/vm/{vm['uuid']}").get_json()["ports"][0]["network"] == {"uuid": lan, "name": "office"}
    network = NetworkRequest.read("", api.application.extensions["ucloud"].store.get(keys.network(lan)).value)
    assert network.name == "office"
