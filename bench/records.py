"""A cloud as it stands in etcd, written there at once: accounts, sessions, an image, hosts, VMs that run on them."""

import secrets
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import UUID

from common import admission, keys
from common.schemas.host import Alive, HostStatus, StoreCapacity
from common.schemas.image import ImageActual, ImageRequest, ImageStatus
from common.schemas.record import Record
from common.schemas.user import Account, Amounts, Quota, Session
from common.schemas.vm import Actual, Console, Event, Placement, Specs, VmRequest, VmStatus
from common.store import Put, Store, absent
from ucloud_api.access.auth import TOKEN_PREFIX
from ucloud_api.access.sessions import digest

NOW = datetime.now(UTC)
IMAGE = str(UUID(int=2**100))
IMAGE_NAME = "bench"
QUOTA = Quota(vms=10**6, cpu=10**6, ram_mib=10**9, ssd_mib=10**9, hdd_mib=10**9)
_PER_TRANSACTION = 128

Pair = tuple[str, bytes]


def write(store: Store, pairs: Iterable[Pair]) -> None:
    """Write keys that are absent, in transactions as large as etcd takes them."""
    rest = iter(pairs)
    while batch := list(islice(rest, _PER_TRANSACTION)):
        store.commit([absent(batch[0][0])], [Put(key, value) for key, value in batch])


def pair(key: str, record: Record) -> Pair:
    """A record as it is written."""
    return key, record.to_json()


def user(name: str, is_admin: bool = False) -> tuple[str, list[Pair]]:
    """A user with a quota that is large, and a session: its token, and the records in the order to write them."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    account = Account(name=name, realm="ucloud", is_admin=is_admin, quota=QUOTA, created_at=NOW)
    session = Session(user=name, created_at=NOW, expires_at=NOW + timedelta(hours=8))
    return token, [pair(keys.account(name), account), pair(keys.session(digest(token)), session)]


def image(owner: str) -> list[Pair]:
    """An image that is READY, and everybody's."""
    request_ = ImageRequest(uuid=IMAGE, owner=owner, name=IMAGE_NAME, file="b.qcow2", public=True, created_at=NOW)
    status = ImageStatus(generation=1, actual=ImageActual.READY, since=NOW, virtual_size_mib=1)
    name_key = keys.name(owner, "image", IMAGE_NAME)
    return [pair(keys.image(IMAGE), request_), pair(keys.image_status(IMAGE), status), (name_key, IMAGE.encode())]


def host(name: str) -> list[Pair]:
    """A large host that is registered and alive, without a lease."""
    ssd = StoreCapacity(store_id=name, total_mib=10**7)
    status = HostStatus(name=name, cpu=256, ram_mib=2**21, ssd=ssd, addresses=("fd00::1",), hypervisor="QEMU")
    return [pair(keys.host_status(name), status), pair(keys.alive(name), Alive(name=name, boot_id="1"))]


def request(number: int, owner: str, image_uuid: str = IMAGE, ssd_mib: int = 1) -> VmRequest:
    """A VM that is wanted."""
    specs = Specs.of(cpu=1, ram_mib=128, ssd_mib=ssd_mib)
    return VmRequest(
        uuid=str(UUID(int=number, version=4)),
        owner=owner,
        name=f"vm-{number}",
        specs=specs,
        image=image_uuid,
        created_at=NOW,
    )


def wish(wanted: VmRequest) -> list[Pair]:
    """What the API writes to create a VM: the request, the owner's name for it, the charge, the use of the image."""
    unlimited = Account(name=wanted.owner, realm="ucloud", created_at=NOW)
    step = admission.admit_vm(wanted, 1, admission.Budget(unlimited, 1, Amounts(), 1))
    return [(each.key, each.value) for each in step.operations if isinstance(each, Put)]


def vm(number: int, owner: str, host_name: str) -> Iterator[Pair]:
    """A VM that runs: the wish for it, its placement, its status with two events."""
    wanted = request(number, owner)
    yield from wish(wanted)
    placement = Placement(epoch=1, generation=1, request=wanted, placed_at=NOW)
    yield pair(keys.placement(host_name, wanted.uuid), placement)
    status = VmStatus(
        epoch=1,
        generation=1,
        actual=Actual.RUNNING,
        specs=wanted.specs,
        since=NOW,
        console=Console(url=f"http://[fd00::1]:9703/vm/{wanted.uuid}", token=secrets.token_urlsafe(32)),
        events=(Event(at=NOW, what="deploying on this host"), Event(at=NOW, what="started")),
    )
    yield pair(keys.vm_status(host_name, wanted.uuid), status)
