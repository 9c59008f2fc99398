"""What was asked for, in words."""

from datetime import UTC, datetime

import pytest

from common.schemas.host import HostRequest, HostState, Overcommit
from common.schemas.image import ImageRequest, ImageRequested
from common.schemas.record import Record
from common.schemas.user import Account, Amounts
from common.schemas.vm import MoveWish, Requested, Specs, VmRequest
from ucloud_api.told import Subject, asked, subject

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SPECS = Specs(cpu=1, ram_mib=512, ssd_mib=2048)
VM = VmRequest(uuid="u", owner="alice", name="web", specs=SPECS, image="i", created_at=NOW)
IMAGE = ImageRequest(uuid="i", owner="alice", name="debian", file="d.qcow2", created_at=NOW)
HOST = HostRequest(name="h1")
USER = Account(name="alice", realm="ucloud", created_at=NOW)


def changed(record: Record, **fields: object) -> Record:
    return record.model_copy(update={"generation": 2, **fields})


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (None, VM, "created: web, 1 CPU 512 MiB RAM 2 GiB SSD 0 GiB HDD, to run"),
        (VM, changed(VM, requested=Requested.STOPPED, force=True), "asked to be stopped"),
        (VM, changed(VM, reboots=1), "asked to reboot"),
        (VM, changed(VM, name="www", protected=True), "renamed from web to www; protected: no -> yes"),
        (
            VM,
            changed(VM, specs=SPECS.model_copy(update={"cpu": 2})),
            "resized from 1 CPU 512 MiB RAM 2 GiB SSD 0 GiB HDD to 2 CPU 512 MiB RAM 2 GiB SSD 0 GiB HDD",
        ),
        (VM, changed(VM), "asked again to run"),
        (VM, changed(VM, move=MoveWish(number=1)), "asked to move to another host"),
        (VM, changed(VM, move=MoveWish(number=1, to="h2", cold=True)), "asked to move cold to h2"),
        (VM, changed(VM, move=MoveWish(number=1, cancelled=True)), "asked not to move any more"),
        (VM, changed(VM, host_labels={"rack": "r1"}), "host labels: none -> rack=r1"),
        (None, IMAGE, "created: debian from d.qcow2"),
        (IMAGE, changed(IMAGE, public=True), "public: no -> yes"),
        (IMAGE, changed(IMAGE, requested=ImageRequested.DELETED), "asked to be deleted"),
        (None, changed(HOST, state=HostState.DRAINING), "state: enabled -> draining"),
        (
            HOST,
            changed(HOST, overcommit=Overcommit(cpu=2.0)),
            "overcommit: 4.0 CPU ram=1.0 disk=1.0 -> 2.0 CPU ram=1.0 disk=1.0",
        ),
        (None, USER, "created: of the realm ucloud"),
        (USER, changed(USER, quota=Amounts(vms=1)), "quota: none -> 1 VMS 0 CPU 0 GiB RAM 0 GiB SSD 0 GiB HDD"),
        (USER, None, "deleted"),
    ],
)
def test_the_words(before: Record | None, after: Record | None, words: str) -> None:
    assert asked(before, after) == words


def test_what_it_is_about() -> None:
    assert subject(VM) == Subject("vm", "u", "alice")
    assert subject(IMAGE) == Subject("image", "i", "alice")
    assert subject(HOST) == Subject("host", "h1", "")
    assert subject(USER) == Subject("user", "alice", "alice")
    assert subject(Record()) is None
