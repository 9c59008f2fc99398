"""Records: frozen, versioned, older and newer ones read, malformed ones named."""

import json
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from common.errors import MalformedRecord
from common.schemas.host import HostRequest, HostState, HostStatus, StoreCapacity
from common.schemas.record import Record


class Disk(Record):
    CURRENT_VERSION: ClassVar[int] = 2

    version: int = 2
    size_mib: int

    @classmethod
    def upgrade(cls, data: dict[str, Any]) -> dict[str, Any]:
        return {"size_mib": data["size_gib"] * 1024}


def test_an_older_record_is_upgraded() -> None:
    assert Disk.read("/k", b'{"version": 1, "size_gib": 2}') == Disk(size_mib=2048)


def test_an_older_record_that_is_no_such_thing_is_malformed() -> None:
    with pytest.raises(MalformedRecord, match="version 1 without 'size_gib'"):
        Disk.read("/k", b'{"version": 1}')


def test_fields_of_a_newer_daemon_are_ignored() -> None:
    record = HostRequest.read("/k", b'{"version": 2, "name": "h1", "state": "disabled", "rack": "r7"}')
    assert record.state is HostState.DISABLED


def test_a_record_survives_being_written_and_read() -> None:
    record = HostRequest(name="h1", state=HostState.DRAINING)
    assert HostRequest.read("/k", record.to_json()) == record


def test_spaces_in_a_record_make_no_difference() -> None:
    record = HostStatus(name="h1", cpu=1, ram_mib=1, ssd=StoreCapacity(store_id="s", total_mib=1), addresses=("::1",))
    spaced = json.dumps(json.loads(record.to_json()), indent=2).encode()
    assert spaced != record.to_json()
    assert HostStatus.read("/k", spaced) == record


def test_records_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Disk(size_mib=1).size_mib = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"name": "h1"}', "version: a positive integer is required"),
        (b'{"version": "1", "name": "h1"}', "version: a positive integer is required"),
        (b'{"version": 1}', "name: Field required"),
        (b'{"version": 1, "name": "h1", "state": "asleep"}', "state: Input should be"),
        (b'{"version":1,"name":"h1","state":"asleep"}', "state: Input should be"),
        (b'{"version":1,"name":', "not JSON"),
        (b'{"version":1,"name":"\xff"}', "not JSON"),
    ],
)
def test_a_malformed_record_is_named_with_its_problem(value: bytes, problem: str) -> None:
    with pytest.raises(MalformedRecord) as error:
        HostRequest.read("/v1/host/h1", value)
    assert str(error.value).startswith("/v1/host/h1: ")
    assert problem in str(error.value)
