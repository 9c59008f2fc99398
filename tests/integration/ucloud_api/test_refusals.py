"""Bad input: every refusal is a problem (RFC 9457) that names the field and what is allowed; none is a 5xx."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from common import keys
from devcloud.etcd import EtcdCluster
from devcloud.waiting import wait_for
from tests.integration.ucloud_api.world import NOBODY, World

SPECS: dict[str, Any] = {"cpu": 1, "ram": 1, "ssd": 4}
VM: dict[str, Any] = {"name": "web", "specs": SPECS, "image": "debian"}
IMAGE: dict[str, Any] = {"name": "debian", "file": "debian.qcow2"}


def spec(**changes: object) -> dict[str, Any]:
    return {**VM, "specs": {**SPECS, **changes}}


def without(body: dict[str, Any], field: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != field}


BAD_SPECS: tuple[Any, ...] = (None, [], "small", 1)
BAD_RAM: tuple[Any, ...] = (0, "63MiB", -1, "65TiB", "1", "1GB", 1.5, True, None, {}, 10**30)

BAD_VMS: list[tuple[Any, str]] = [
    (without(VM, "specs"), "specs"),
    (without(VM, "image"), "image"),
    *[({**VM, "specs": without(SPECS, field)}, f"specs.{field}") for field in SPECS],
    ({**VM, "colour": "red"}, "colour"),
    ({**VM, "uuid": NOBODY}, "uuid"),
    (spec(gpu=1), "specs.gpu"),
    *[({**VM, "name": name}, "name") for name in ("Web", "-web", "web-", "w" * 64, "", "a.b", "a/b", "ü", 1, ["a"])],
    *[({**VM, "owner": owner}, "owner") for owner in ("Ann", "../etc", "", 1, "a" * 64)],
    *[({**VM, "image": image}, "image") for image in ("", "a/b", "Ä", None, 1, "i" * 64)],
    *[({**VM, "specs": specs}, "specs") for specs in BAD_SPECS],
    *[(spec(cpu=cpu), "specs.cpu") for cpu in (0, -1, 513, 1.0, "1", True, None, 10**30, [1])],
    *[(spec(ram=ram), "specs.ram") for ram in BAD_RAM],
    *[(spec(ssd=ssd), "specs.ssd") for ssd in (0, -1, "1025TiB", "1 lightyear", 0.5, None, "9" * 50 + "GiB")],
    *[(spec(hdd=hdd), "specs.hdd") for hdd in (-1, "1025TiB", "x", None)],
    *[({**VM, "requested": requested}, "requested") for requested in ("SUSPENDED", "DELETED", "running", 1, None)],
    ({}, "specs"),
    ([], "body"),
    ("x", "body"),
    (1, "body"),
]

BAD_IMAGES: list[tuple[Any, str]] = [
    (without(IMAGE, "name"), "name"),
    # It may be made from a snapshot instead.
    (without(IMAGE, "file"), "body"),
    ({**IMAGE, "file": None}, "body"),
    *[({**IMAGE, "name": name}, "name") for name in ("Debian", "", "-a", "a/b", 1, None, "a" * 64)],
    *[({**IMAGE, "file": file}, "file") for file in ("../x", "/etc/passwd", ".x", "", "a/b", 1, "f" * 256)],
    ({**IMAGE, "owner": ".."}, "owner"),
    ({**IMAGE, "url": "http://[::1]/"}, "url"),
]

CASES = [("/v1/vm", *case) for case in BAD_VMS] + [("/v1/image", *case) for case in BAD_IMAGES]


@pytest.mark.parametrize(
    ("path", "body", "field"), CASES, ids=[f"{path} {json.dumps(body)[:60]}" for path, body, _ in CASES]
)
def test_a_malformed_body_is_a_422_that_names_the_field(
    api: FlaskClient, world: World, path: str, body: Any, field: str
) -> None:
    answer = api.post(path, json=body)
    assert answer.status_code == 422, answer.text
    assert answer.content_type == "application/problem+json"
    problem = answer.get_json()
    assert problem["status"] == 422
    error = next(error for error in problem["errors"] if error["field"] == field)
    assert error["problem"]
    if field != "body":
        assert error["allowed"]
    assert not world.store.list(keys.VM).entries
    assert not world.store.list(keys.IMAGE).entries


def test_an_unknown_field_is_told_the_known_ones(api: FlaskClient) -> None:
    error = api.post("/v1/vm", json=spec(gpu=1)).get_json()["errors"][0]
    assert error == {"field": "specs.gpu", "problem": "is unknown", "allowed": ["cpu", "ram", "ssd", "hdd"]}


def test_all_problems_are_told_at_once(api: FlaskClient) -> None:
    errors = api.post("/v1/vm", json={"name": "W", "specs": {"cpu": 0}}).get_json()["errors"]
    assert {error["field"] for error in errors} == {"name", "specs.cpu", "specs.ram", "specs.ssd", "image"}


@pytest.mark.parametrize("uuid", ["x", "123", NOBODY[:-1], "..%2f..%2fetc", "%00", "ü", "'; drop"])
def test_a_malformed_uuid_is_a_422_or_a_404(api: FlaskClient, uuid: str) -> None:
    for path in (f"/v1/{kind}/{uuid}" for kind in ("vm", "image", "network", "security-group")):
        for answer in (api.get(path), api.delete(path), api.get(f"{path}?watch=1")):
            assert answer.status_code in (404, 422)
            assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=ON", "status"),
        ("owner=A", "owner"),
        ("name=A", "name"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("cursor=x", "cursor"),
        ("watch=perhaps", "watch"),
        ("colour=red", "colour"),
    ],
)
def test_a_malformed_query_is_a_422(api: FlaskClient, query: str, field: str) -> None:
    for path in ("/v1/vm", "/v1/image", "/v1/network", "/v1/security-group"):
        answer = api.get(f"{path}?{query}")
        assert answer.status_code == 422
        assert [error["field"] for error in answer.get_json()["errors"]] == [field]
        assert answer.get_json()["errors"][0]["allowed"]


@pytest.mark.parametrize("bytes_wanted", ["0", "1048577", "-1", "x"])
def test_a_log_is_asked_for_in_bounds(api: FlaskClient, bytes_wanted: str) -> None:
    assert api.get(f"/v1/vm/{NOBODY}/log?tail_bytes={bytes_wanted}").status_code == 422


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [
        ("{", "application/json", 400),
        ("", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        ("[" * 60_000, "application/json", 400),
        ('{"name": ' + "9" * 5000 + "}", "application/json", 400),
        ('{"name": "\\ud800", "\\udfff": 1}', "application/json", 422),
        ('{"specs": {"cpu": NaN}}', "application/json", 422),
        ("name=web", "application/x-www-form-urlencoded", 415),
        ("{}", "text/plain", 415),
        ("x" * (64 * 1024 + 1), "application/json", 413),
    ],
)
def test_a_body_that_is_no_json(api: FlaskClient, data: Any, content_type: str, status: int) -> None:
    for method, path in (("POST", "/v1/vm"), ("PATCH", f"/v1/vm/{NOBODY}"), ("POST", "/v1/image")):
        answer = api.open(path, method=method, data=data, content_type=content_type)
        assert answer.status_code == status, answer.text
        assert answer.content_type == "application/problem+json"
        assert answer.get_json()["status"] == status


NASTY = (
    "\x00",
    "a\nb",
    "\x7f",
    "\u202e",
    "😀",
    "x" * 10_000,
    "../../etc/passwd",
    "..%2f",
    "a/../b",
    "%",
    "'; --",
    "\ud7ff",
)


@pytest.mark.parametrize("text", NASTY, ids=[ascii(text)[:20] for text in NASTY])
def test_nasty_texts_are_refused_wherever_they_stand(api: FlaskClient, world: World, text: str) -> None:
    world.add_image()
    path = api.post("/v1/vm", json=VM).headers["Location"]
    answers = [
        *(api.post("/v1/vm", json={**VM, field: text}) for field in ("name", "owner", "image", "requested")),
        *(api.post("/v1/image", json={**IMAGE, field: text}) for field in ("name", "owner", "file")),
        *(api.post("/v1/network", json={"name": "lan", field: text}) for field in ("name", "owner", "prefix", "ipv4")),
        *(api.post("/v1/security-group", json={"name": "web", field: text}) for field in ("name", "owner", "rules")),
        *(
            api.post("/v1/security-group", json={"name": "web", "rules": [{field: text}]})
            for field in ("direction", "protocol", "first_port", "prefix", "group", text)
        ),
        *(
            api.post("/v1/user/admin/ssh-key", json={"name": "key", "key": "x", field: text})
            for field in ("name", "key")
        ),
        *(
            api.post(f"{path}/port", json={"network": "lan", field: text})
            for field in ("network", "ipv6", "ipv4", "prefixes", "security_groups")
        ),
        *(api.post("/v1/vm", json={**VM, field: [text]}) for field in ("networks", "ssh_keys", "hostname")),
        api.delete(f"{path}/port/{quote(text, safe='')}"),
        api.delete(f"{path}/disk/{quote(text, safe='')}"),
        api.patch(f"{path}/disk/{quote(text, safe='')}", json={"size": 1}),
        *(api.post(f"{path}/disk", json={"kind": "ssd", "size": 1, field: text}) for field in ("kind", "size", text)),
        api.delete(f"/v1/user/admin/ssh-key/{quote(text, safe='')}"),
        api.patch(path, json={"name": text}),
        api.patch("/v1/image/x", json={"name": text}),
        *(api.get("/v1/vm", query_string={field: text}) for field in ("name", "owner", "image", "host", "cursor")),
        *(api.get("/v1/image", query_string={field: text}) for field in ("name", "owner", "status", "limit")),
        *(api.get(f"/v1/{kind}/{quote(text)}") for kind in ("vm", "image", "network", "host", "user")),
        *(api.delete(f"/v1/{kind}/{quote(text, safe='')}") for kind in ("vm", "image", "network", "user")),
        api.post(f"/v1/vm/{quote(text)}/start"),
        api.post(f"{path}/{quote(text)}"),
    ]
    assert {answer.status_code for answer in answers} <= {404, 405, 422}
    for answer in answers:
        assert answer.content_type == "application/problem+json"
    assert len(world.store.list(keys.VM).entries) == 1


@pytest.mark.parametrize(
    "text", ["😀".encode().decode("latin-1"), "x" * 10_000, "../..", '"', "'; --", "\x01", ",,,", "*, x"]
)
def test_nasty_headers_harm_nothing(api: FlaskClient, world: World, text: str) -> None:
    world.add_image()
    path = api.post("/v1/vm", json=VM).headers["Location"]
    for header in ("If-Match", "Idempotency-Key", "Cache-Control", "Accept", "Content-Type", "Authorization", "X-Any"):
        for answer in (
            api.post(f"{path}/stop", headers={header: text}),
            api.patch(path, json={"protected": True}, headers={header: text}),
            api.get(path, headers={header: text}),
        ):
            assert answer.status_code < 500, (header, answer.text)


def test_routes_and_methods_that_there_are_not(api: FlaskClient) -> None:
    nowhere = api.get("/v1/vms")
    assert (nowhere.status_code, nowhere.content_type) == (404, "application/problem+json")
    wrong = api.put("/v1/vm", json={})
    assert (wrong.status_code, wrong.content_type) == (405, "application/problem+json")
    assert {"GET", "POST"} <= set(wrong.headers["Allow"].split(", "))


def test_a_malformed_record_is_in_nobodys_way(api: FlaskClient, world: World) -> None:
    world.add_image()
    good = api.post("/v1/vm", json=VM).get_json()
    world.put(keys.vm(NOBODY), b"{not json")

    def is_told() -> bool:
        return keys.vm(NOBODY) in api.get("/healthz").get_json()["malformed_records"]

    wait_for("the malformed record in /healthz", is_told, 30)
    assert api.get("/healthz").status_code == 200
    assert [each["uuid"] for each in api.get("/v1/vm").get_json()["items"]] == [good["uuid"]]
    broken = api.get(f"/v1/vm/{NOBODY}")
    assert (broken.status_code, broken.get_json()["type"]) == (409, "urn:ucloud:problem:malformed-record")


def test_etcd_away_is_a_503_that_says_when_to_try_again(api: FlaskClient, world: World, etcd: EtcdCluster) -> None:
    world.add_image()
    vm = api.post("/v1/vm", json=VM).get_json()
    etcd.pause(0)
    try:
        answers = [
            api.post("/v1/vm", json={**VM, "name": "late"}),
            api.get(f"/v1/vm/{vm['uuid']}"),
            api.delete(f"/v1/vm/{vm['uuid']}"),
        ]
        for answer in answers:
            assert answer.status_code == 503
            assert answer.content_type == "application/problem+json"
            assert int(answer.headers["Retry-After"]) > 0
            assert answer.get_json()["type"] == "urn:ucloud:problem:etcd-unavailable"
        assert api.get("/v1/vm").status_code == 503, "no old list is sold as a new one"
        assert api.get("/healthz").status_code == 503
    finally:
        etcd.resume(0)
    etcd.wait_healthy()
    wait_for("the API well again", lambda: api.get("/healthz").status_code == 200, 20)
    assert api.get(f"/v1/vm/{vm['uuid']}").get_json()["generation"] == 1
    assert len(api.get("/v1/vm").get_json()["items"]) == 1
