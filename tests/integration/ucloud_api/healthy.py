"""A cloud in etcd of which nothing is wrong: two hosts that answer for what they hold, an image, a VM that runs."""

import json
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from types import TracebackType
from typing import Self

from common import admission, keys
from common.schemas.host import Alive, HostStatus, StoreCapacity
from common.schemas.image import ImageActual, ImageRequest, ImageStatus
from common.schemas.inventory import InventoryDoor
from common.schemas.leader import Leader
from common.schemas.record import Record
from common.schemas.user import Account, Quota
from common.schemas.vm import Actual, Placement, Specs, VmRequest, VmStatus
from common.store import Delete, Put, Store, present, unchanged

LONG_AGO = datetime.now(UTC) - timedelta(hours=1)
IMAGE = "00000000-0000-4000-8000-00000000001a"
VM = "00000000-0000-4000-8000-0000000000a1"
OTHER_VM = "00000000-0000-4000-8000-0000000000a2"
TOKEN = "sesame"
QUOTA = Quota(vms=9, cpu=9, ram_mib=9999, ssd_mib=9999)


class AnsweringHost:
    """The ucloud-vm of two hosts that share a store, as far as the doctor asks it, over HTTP."""

    def __init__(self) -> None:
        self.guests = {"h1": {VM}, "h2": set[str]()}
        self.disks = {VM}
        self.templates = {IMAGE}
        self.ports = set[str]()
        self.clock_ahead_s = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_known = self.headers["Authorization"] == f"Bearer {TOKEN}"
                self.send_response(200 if is_known else 401)
                self.end_headers()
                if is_known:
                    _, name, asked = self.path.split("/")
                    self.wfile.write(outer.answer(name, with_disks=asked.endswith("disks=1")))

            def date_time_string(self, timestamp: float | None = None) -> str:
                del timestamp
                return format_datetime(datetime.now(UTC) + timedelta(seconds=outer.clock_ahead_s), usegmt=True)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def door(self, name: str) -> InventoryDoor:
        return InventoryDoor(url=f"http://127.0.0.1:{self._server.server_port}/{name}/inventory", token=TOKEN)

    def answer(self, name: str, with_disks: bool) -> bytes:
        found = {"guests": self.guests[name], "templates": self.templates, "ports": self.ports}
        told = {what: sorted(things) for what, things in found.items()}
        return json.dumps(told | ({"disks": sorted(self.disks)} if with_disks else {})).encode()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class Healthy:
    """The cloud, and what it takes to break it."""

    def __init__(self, store: Store, host: AnsweringHost) -> None:
        self.store = store
        self.host = host
        self.lease = store.grant(600)
        self.request = VmRequest(
            uuid=VM,
            owner="alice",
            name="web",
            specs=Specs.of(cpu=1, ram_mib=512, ssd_mib=2048),
            image=IMAGE,
            created_at=LONG_AGO,
        )
        self.put(keys.account("alice"), Account(name="alice", realm="ucloud", quota=QUOTA, created_at=LONG_AGO))
        self.put(keys.account("admin"), Account(name="admin", realm="ucloud", is_admin=True, created_at=LONG_AGO))
        for host_name in ("h1", "h2"):
            ssd = StoreCapacity(store_id="shared", total_mib=10**6)
            versions = {"ucloud": version("ucloud")}
            status = HostStatus(name=host_name, cpu=8, ram_mib=16384, ssd=ssd, versions=versions)
            self.put(keys.host_status(host_name), status)
            self.put(keys.alive(host_name), Alive(name=host_name, boot_id="1"), self.lease)
            self.put(keys.inventory(host_name), host.door(host_name))
        for daemon in ("scheduler", "image", "host"):
            self.put(keys.leader(daemon), Leader(instance="x", since=LONG_AGO), self.lease)
        self._add_image()
        self.add_vm(self.request)
        self.place(self.request, "h1")

    def _add_image(self) -> None:
        image = ImageRequest(uuid=IMAGE, owner="admin", name="debian", file="d.qcow2", public=True, created_at=LONG_AGO)
        account = self.store.get(keys.account("admin"))
        assert account
        step = admission.admit_image(image, account.mod_revision)
        self.store.commit(step.compares, step.operations)
        self.put(keys.image_status(IMAGE), ImageStatus(generation=1, actual=ImageActual.READY, since=LONG_AGO))

    def add_vm(self, request: VmRequest) -> None:
        """What the API writes for a VM."""
        budget = admission.read_budget(self.store, request.owner)
        image = self.store.get(keys.image(IMAGE))
        assert budget
        assert image
        unlimited = admission.Budget(
            budget.holder.model_copy(update={"quota": None}), budget.holder_revision, budget.used, budget.revision
        )
        step = admission.admit_vm(request, image.mod_revision, unlimited)
        self.store.commit(step.compares, step.operations)

    def place(self, request: VmRequest, host: str, **fields: object) -> None:
        """What the scheduler writes for a VM, and the host's answer."""
        order = Placement(epoch=1, generation=1, request=request, placed_at=LONG_AGO).model_copy(update=fields)
        self.put(keys.placement(host, request.uuid), order)
        status = VmStatus(epoch=1, generation=1, actual=Actual.RUNNING, since=LONG_AGO)
        self.put(keys.vm_status(host, request.uuid), status)

    def put(self, key: str, value: Record | bytes, lease: int = 0) -> None:
        """Write a key, whatever it holds now."""
        entry = self.store.get(key)
        raw = value if isinstance(value, bytes) else value.to_json()
        self.store.commit([unchanged(key, entry.mod_revision if entry else 0)], [Put(key, raw, lease)])

    def remove(self, *removed: str) -> None:
        """Remove keys that exist."""
        for key in removed:
            self.store.commit([present(key)], [Delete(key)])
