"""Networks over HTTP: made, listed, changed, deleted; what a network holds is its alone, and is given back with it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from ipaddress import IPv6Network
from typing import Any

import pytest
from flask.testing import FlaskClient

from common import keys
from common.schemas.network import NetworkActual, NetworkRequest, NetworkStatus
from common.settings import NetworkSettings
from common.store import Store
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_api.client import Client
from tests.integration.ucloud_api.world import NOBODY, World, bearer
from ucloud_api.networks import network
from ucloud_api.worker.state import State

NET: dict[str, Any] = {"name": "lan"}
TRANSIENT = (keys.EVENT, keys.SESSION, keys.REQUEST, keys.ACCOUNT)


def held(store: Store) -> dict[str, bytes]:
    """All of etcd that is not meant to pass by itself."""
    return {entry.key: entry.value for entry in store.list(keys.ROOT).entries if not entry.key.startswith(TRANSIENT)}


def caller(api: FlaskClient, world: World, name: str) -> FlaskClient:
    """The API, asked by a user."""
    world.add_account(name)
    client = api.application.test_client()
    client.environ_base.update(HTTP_AUTHORIZATION=f"Bearer {world.log_in(name)}")
    return client


@pytest.fixture
def ann(api: FlaskClient, world: World) -> FlaskClient:
    return caller(api, world, "ann")


def test_a_network_is_made_shown_renamed_and_deleted_without_a_trace(ann: FlaskClient, store: Store) -> None:
    before = held(store)
    answer = ann.post("/v1/network", json={**NET, "ipv4": "10.0.0.0/24", "mtu": 1400})
    assert answer.status_code == 201, answer.text
    made = answer.get_json()
    path = f"/v1/network/{made['uuid']}"
    assert answer.headers["Location"] == path
    assert (made["owner"], made["ipv4"], made["mtu"], made["isolated"]) == ("ann", "10.0.0.0/24", 1400, False)
    prefix = IPv6Network(made["prefix"])
    assert prefix.subnet_of(NetworkSettings().prefix_pool)
    assert int(prefix.network_address) >> 64 & (2**24 - 1) == made["vni"]
    assert store.get(keys.vni(made["vni"])).value == made["uuid"].encode()  # type: ignore[union-attr]
    assert store.get(keys.prefix(str(prefix.network_address))).value == made["uuid"].encode()  # type: ignore[union-attr]
    shown = ann.get(path)
    assert (shown.get_json(), shown.headers["ETag"]) == (made, answer.headers["ETag"])
    assert [each["name"] for each in ann.get("/v1/network").get_json()["items"]] == ["lan"]
    renamed = ann.patch(path, json={"name": "office"}, headers={"If-Match": answer.headers["ETag"]})
    assert (renamed.status_code, renamed.get_json()["name"]) == (200, "office")
    assert ann.patch(path, json={"name": "x"}, headers={"If-Match": answer.headers["ETag"]}).status_code == 412
    assert ann.get("/v1/network?name=lan").get_json()["items"] == []
    events = [each["what"] for each in ann.get(f"{path}/events").get_json()["items"]]
    assert events == [f"created: lan of {prefix} and 10.0.0.0/24", "renamed from lan to office"]
    assert ann.delete(path).status_code == 204
    assert ann.get(path).status_code == ann.delete(path).status_code == 404
    assert held(store) == before
    assert ann.get(f"{path}/events").get_json()["items"][-1]["what"] == "deleted"


def test_networks_are_their_owners_and_public_ones_everybodys_to_see(
    api: FlaskClient, ann: FlaskClient, world: World
) -> None:
    bob = caller(api, world, "bob")
    own = ann.post("/v1/network", json=NET).get_json()
    public = api.post("/v1/network", json={"name": "uplink", "public": True}).get_json()
    assert [each["uuid"] for each in ann.get("/v1/network").get_json()["items"]] == [own["uuid"], public["uuid"]]
    assert [each["uuid"] for each in bob.get("/v1/network").get_json()["items"]] == [public["uuid"]]
    for answer in (
        bob.get(f"/v1/network/{own['uuid']}"),
        bob.get(f"/v1/network/{own['uuid']}/events"),
        bob.patch(f"/v1/network/{own['uuid']}", json={"name": "x"}),
        bob.delete(f"/v1/network/{own['uuid']}"),
    ):
        assert answer.status_code == 404
    for answer in (
        bob.patch(f"/v1/network/{public['uuid']}", json={"name": "x"}),
        bob.delete(f"/v1/network/{public['uuid']}"),
        ann.patch(f"/v1/network/{own['uuid']}", json={"public": True}),
        ann.post("/v1/network", json={"name": "x", "public": True}),
        ann.post("/v1/network", json={"name": "x", "owner": "bob"}),
        ann.post("/v1/network", json={"name": "x", "prefix": "2001:db8:7::/64"}),
    ):
        assert answer.status_code == 403
    assert api.post("/v1/network", json={"name": "lan", "owner": "bob"}).status_code == 201
    assert api.post("/v1/network", json={"name": "lan", "owner": "nobody"}).status_code == 404
    assert ann.post("/v1/network", json=NET).get_json()["type"] == "urn:ucloud:problem:name-taken"


def test_what_hosts_have_of_a_network_is_shown(api: FlaskClient, ann: FlaskClient, world: World) -> None:
    path = ann.post("/v1/network", json=NET).headers["Location"]
    uuid, fresh = keys.last_part(path), {"Cache-Control": "no-cache"}

    def shown(client: FlaskClient) -> tuple[Any, ...]:
        found = client.get(path, headers=fresh).get_json()
        (listed,) = client.get("/v1/network", headers=fresh).get_json()["items"]
        assert listed == found
        hosts = found["hosts"] and [(each["host"], each["status"], each["reason"]) for each in found["hosts"]]
        return found["status"], found["reason"], hosts

    def say(host: str, actual: NetworkActual, reason: str = "") -> None:
        status = NetworkStatus(actual=actual, reason=reason, since=datetime.now(UTC), mtu=1430)
        world.put(keys.network_status(host, uuid), status)

    assert (shown(ann), shown(api)) == (("UNUSED", "", None), ("UNUSED", "", []))
    for host in ("h1", "h2"):
        world.add_host(host)
        say(host, NetworkActual.ACTIVE)
    assert shown(ann) == ("ACTIVE", "", None)
    assert shown(api) == ("ACTIVE", "", [("h1", "ACTIVE", ""), ("h2", "ACTIVE", "")])
    say("h2", NetworkActual.ERROR, "underlay eth0: too small")
    reason = "1 of 2 hosts can't build it, which is for admins to mend"
    assert shown(ann) == ("ERROR", reason, None)
    assert shown(api)[2] == [("h1", "ACTIVE", ""), ("h2", "ERROR", "underlay eth0: too small")]
    world.remove(keys.alive("h2"))
    assert shown(ann) == ("ACTIVE", "", None)
    assert shown(api)[2][1] == ("h2", "UNKNOWN", "host h2 is silent, it last said ERROR")
    world.remove(keys.network_status("h1", uuid))
    assert shown(ann) == ("UNUSED", "", None)


BAD_PREFIXES: tuple[Any, ...] = (
    *("fd00:1::/48", "fd00:1::/65", "fd00:1::1/64", "fe80::/64", "ff02::/64", "::/64", "64:ff9b::/64", "x"),
    *("fd00:ec2::/64", "10.0.0.0/24", "fd00:1::%eth0/64", 1, True, [], "fd00:1::/64" + " " * 99),
)
BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "name"),
    *[({"name": name}, "name") for name in ("Lan", "-a", "a.b", "", 1, None, "a" * 64)],
    *[({**NET, "prefix": prefix}, "prefix") for prefix in BAD_PREFIXES],
    *[
        ({**NET, "ipv4": prefix}, "ipv4")
        for prefix in (
            "10.0.0.1/24",
            "10.0.0.0/30",
            "10.0.0.0/7",
            "8.8.8.0/24",
            "169.254.0.0/16",
            "127.0.0.0/8",
            1,
            "x",
        )
    ],
    *[({**NET, "mtu": mtu}, "mtu") for mtu in (1279, 9001, "1500", 1500.0, True)],
    *[({**NET, field: 1}, field) for field in ("isolated", "public", "vni", "uuid")],
    ({**NET, "owner": ".."}, "owner"),
]


@pytest.mark.parametrize(("body", "field"), BAD, ids=[str(body)[:60] for body, _ in BAD])
def test_a_malformed_network_is_a_422_that_names_the_field(
    api: FlaskClient, store: Store, body: dict[str, Any], field: str
) -> None:
    answer = api.post("/v1/network", json=body)
    assert answer.status_code == 422, answer.text
    (error,) = answer.get_json()["errors"]
    assert error["field"] == field
    assert error["problem"]
    assert error["allowed"]
    assert not store.list(keys.NETWORK).entries


def test_where_hosts_are_is_no_network(api: FlaskClient, world: World) -> None:
    world.add_host()
    for isolated in (True, False):
        body = {**NET, "prefix": "fd00::/64", "isolated": isolated}
        answer = api.post("/v1/network", json=body, headers={"Cache-Control": "no-cache"})
        assert (answer.status_code, answer.get_json()["errors"][0]["field"]) == (422, "prefix")


def test_a_prefix_is_one_networks_unless_that_is_isolated(ann: FlaskClient, api: FlaskClient, store: Store) -> None:
    own = {"prefix": "fd00:9::/64"}
    first = ann.post("/v1/network", json={"name": "a", **own}).get_json()
    taken = api.post("/v1/network", json={"name": "b", **own})
    assert (taken.status_code, taken.get_json()["type"]) == (409, "urn:ucloud:problem:prefix-taken")
    assert taken.get_json()["errors"][0]["field"] == "prefix"
    assert first["uuid"] not in taken.text
    for name in ("c", "d"):
        assert ann.post("/v1/network", json={"name": name, "isolated": True, **own}).status_code == 201
    assert ann.delete(f"/v1/network/{first['uuid']}").status_code == 204
    assert api.post("/v1/network", json={"name": "b", **own}).status_code == 201


def test_a_number_that_is_taken_is_drawn_again(
    api: FlaskClient, world: World, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = iter((4, 4, 4, 5, 6, 7))
    monkeypatch.setattr("ucloud_api.networks.network.secrets.randbelow", lambda _: next(draws))
    # The prefix that stands for a number may be somebody's, too.
    world.put(keys.prefix(str(network.nth_prefix(state, 6).network_address)), NOBODY.encode())
    made = [api.post("/v1/network", json={"name": name}).get_json()["vni"] for name in ("a", "b")]
    assert made == [5, 7]


def test_a_network_is_made_once_however_often_it_is_asked_for_with_one_key(api: FlaskClient, store: Store) -> None:
    answers = [api.post("/v1/network", json=NET, headers={"Idempotency-Key": "k"}) for _ in range(3)]
    assert {(each.status_code, each.headers["ETag"], each.text) for each in answers} == {
        (201, answers[0].headers["ETag"], answers[0].text)
    }
    assert len(store.list(keys.NETWORK).entries) == len(store.list(keys.VNI).entries) == 1


def test_pages_and_streams_tell_of_networks(served: DaemonProcess, world: World) -> None:
    ann = Client.logged_in(served, world, "ann")
    bob = Client.logged_in(served, world, "bob")
    follower = ann.follow("/network?watch=1")
    uuids = [ann.post("/network", json={"name": name}).json()["uuid"] for name in ("a", "b", "c")]
    bob.post("/network", json={"name": "other"})
    assert [follower.next().data["uuid"] for _ in uuids] == uuids
    page = ann.get("/network?limit=2").json()
    assert [each["uuid"] for each in page["items"]] == uuids[:2]
    rest = ann.get(f"/network?limit=2&cursor={page['next_cursor']}").json()
    assert ([each["uuid"] for each in rest["items"]], rest["next_cursor"]) == (uuids[2:], None)
    one = ann.follow(f"/network/{uuids[0]}?watch=1")
    assert one.next().data["name"] == "a"
    assert ann.patch(f"/network/{uuids[0]}", json={"name": "z"}).status_code == 200
    assert one.next().data["name"] == follower.next().data["name"] == "z"
    assert ann.delete(f"/network/{uuids[0]}").status_code == 204
    assert (one.next().name, one.ended()) == ("deleted", True)
    assert follower.next().name == "deleted"


def test_of_many_who_want_one_prefix_exactly_one_gets_it(served: DaemonProcess, world: World, store: Store) -> None:
    clients = [Client.logged_in(served, world, f"u{number}") for number in range(6)]

    def want(client: Client) -> int:
        return int(client.post("/network", json={"name": "a", "prefix": "fd00:9::/64"}).status_code)

    with ThreadPoolExecutor(len(clients)) as pool:
        assert sorted(pool.map(want, clients)) == [201] + [409] * 5
    (entry,) = store.list(keys.NETWORK).entries
    assert [each.value.decode() for each in store.list(keys.PREFIX).entries] == [
        NetworkRequest.read(entry.key, entry.value).uuid
    ]


def test_without_a_session_there_is_nothing(nobody: FlaskClient, world: World) -> None:
    asks: tuple[Callable[..., Any], ...] = (nobody.get, nobody.post)
    assert {ask("/v1/network").status_code for ask in asks} == {401}
    world.add_account("eve")
    assert nobody.get("/v1/network", headers=bearer(world.log_in("eve"))).get_json()["items"] == []
