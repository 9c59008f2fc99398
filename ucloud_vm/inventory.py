"""What there is on this host, told to whoever has the token: guests, taps, and what of VMs and images is in its store.

It is looked up when it is asked for. Where to ask, and the token, stand in `/v1/status/inventory/<host>`.
"""

import logging
import threading
from typing import Protocol

from flask import Flask, Response, request

from common import keys
from common.daemon import Daemon
from common.errors import TemporaryError, UcloudError, Unavailable
from common.schemas.inventory import Inventory, InventoryDoor
from common.store import Put, Store, unchanged
from ucloud_vm.console.access import Access
from ucloud_vm.hypervisor import Hypervisor
from ucloud_vm.links import ports_with_taps

_log = logging.getLogger(__name__)
_RETRY_S = 2.0
_LOOK_EVERY_S = 3600.0


class Shelves(Protocol):
    """What a store tells of its contents; TemporaryError when it does not answer."""

    def vms(self) -> frozenset[str]:
        """The VMs of which there is anything in it."""
        ...

    def templates(self) -> frozenset[str]:
        """The images in it."""
        ...


def tell_inventory(daemon: Daemon, access: Access, hypervisor: Hypervisor, store: Shelves) -> None:
    """Have a daemon answer for what is here, and say where."""
    add_route(daemon.http, access, hypervisor, store)
    daemon.start("doorplate", Doorplate(daemon.store, daemon.settings.host.name, access.inventory()).run)


def add_route(app: Flask, access: Access, hypervisor: Hypervisor, store: Shelves) -> None:
    """Answer /inventory in `app`; with ?disks=1 also of whose disks are in the store, which others may share."""

    @app.get("/inventory")
    def inventory() -> Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not access.opens_inventory(token.strip()):
            return Response("the token of this host is required", 401, {"WWW-Authenticate": "Bearer"})
        try:
            found = Inventory(
                guests=hypervisor.vms(),
                disks=store.vms() if request.args.get("disks") == "1" else None,
                templates=store.templates(),
                ports=ports_with_taps(),
            )
        except (Unavailable, TemporaryError) as error:
            return Response(str(error), 503, content_type="text/plain; charset=utf-8")
        return Response(found.model_dump_json(), content_type="application/json", headers={"Cache-Control": "no-store"})


class Doorplate:
    """Keeps in etcd where the inventory of this host is."""

    def __init__(self, store: Store, host: str, door: InventoryDoor) -> None:
        self._store = store
        self._key = keys.inventory(host)
        self._door = door

    def run(self, stop: threading.Event) -> None:
        """Write it, and see now and then that it is still there; the body of a thread."""
        while not stop.is_set():
            try:
                self._hang()
                stop.wait(_LOOK_EVERY_S)
            except UcloudError as error:
                _log.warning("can't say where the inventory is: %s", error)
                stop.wait(_RETRY_S)

    def _hang(self) -> None:
        entry = self._store.get(self._key)
        value = self._door.to_json()
        if entry is None or entry.value != value:
            self._store.commit([unchanged(self._key, entry.mod_revision if entry else 0)], [Put(self._key, value)])
