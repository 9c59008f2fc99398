"""Which requests are refused, whoever asks."""

import pytest

from ucloud_meta.answer import Request
from ucloud_meta.manners import TOKEN_PATH, Manners

MANNERS = Manners("cloud.example")


def _status(method: str = "GET", target: str = "/latest/", **fields: str) -> int:
    named = {name.replace("_", "-"): (value,) for name, value in {"host": "metadata", **fields}.items()}
    refused = MANNERS.refusal(Request(method, target, named))
    return refused.status.value if refused else 200


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.169.254:80",
        "[fd00:ec2::254]",
        "[FD00:EC2::254]:80",
        "[fe80::a9fe:a9fe]",
        "[fe80::a9fe:a9fe%eth0]",
        "[fe80::a9fe:a9fe%25enp1s0]:80",
        "metadata",
        "Metadata",
        "metadata.cloud.example",
        "metadata.cloud.example.:80",
    ],
)
def test_it_has_these_names(host: str) -> None:
    assert _status(host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "evil.example",
        "metadata.evil.example",
        "metadataXcloud.example",
        "169.254.169.254.evil.example",
        "169.254.169.254:8080",
        "evil@169.254.169.254",
        "2852039166",
        "[fd00:ec2::254%eth0]",
        "[::ffff:169.254.169.254]",
        "[fe80::a9fe:a9fe%]",
    ],
)
def test_it_has_no_other_names(host: str) -> None:
    assert _status(host=host) == 403


@pytest.mark.parametrize(
    "name",
    [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded",
        "forwarded",
        "forwarded-for",
        "via",
        "x-real-ip",
        "x-client-ip",
        "true-client-ip",
        "x-cluster-client-ip",
        "cf-connecting-ip",
        "x-original-url",
        "x-original-forwarded-for",
        "x-rewrite-url",
        "x-remote-addr",
    ],
)
def test_what_was_handed_on_is_refused(name: str) -> None:
    assert _status(**{name: "192.0.2.1"}) == 403
    assert _status("PUT", TOKEN_PATH, **{name: ""}) == 403


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest/", "latest/", "*", "evil.example:80", ""])
def test_a_target_is_a_path(target: str) -> None:
    assert _status(target=target) == 400


def test_there_must_be_one_host() -> None:
    for hosts in ((), ("metadata", "metadata")):
        refused = MANNERS.refusal(Request("GET", "/", {"host": hosts}))
        assert refused
        assert refused.status == 400


def test_methods_and_bodies() -> None:
    assert _status("HEAD") == _status(content_length="0") == _status("PUT", TOKEN_PATH, content_length="0") == 200
    for method in ("POST", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "get"):
        assert _status(method) == 405
    assert _status("PUT", "/latest/meta-data/") == _status("PUT", f"{TOKEN_PATH}?x") == 405
    assert _status(content_length="1") == _status("PUT", TOKEN_PATH, transfer_encoding="chunked") == 413
