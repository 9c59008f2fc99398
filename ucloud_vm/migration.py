"""Guests on their way: those that this life of the daemon sends, each in a thread of its own, as that takes minutes.

What comes of it is remembered as long as this life lasts; the next one looks at the domain. No thread is waited for at
the end: the hypervisor goes on without it.
"""

import logging
import threading
from collections.abc import Callable

from common.errors import UcloudError
from ucloud_vm.destination import Destination, Files
from ucloud_vm.hypervisor import Hypervisor, Journey
from ucloud_vm.planning.steps import Action, AllowDowntime, Send, SendAction, SendRestLater, Sent, StopSending

_log = logging.getLogger(__name__)


class Migrations:
    """The guests that `hypervisor` sends; others send theirs to `uri`, which is empty where none are taken."""

    def __init__(self, hypervisor: Hypervisor, uri: str) -> None:
        self._hypervisor = hypervisor
        self._uri = uri
        self._lock = threading.Lock()
        self._sent: dict[str, Sent] = {}
        self._told: dict[str, frozenset[Action]] = {}
        self._listeners: list[Callable[[str], None]] = []

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the uuid of a VM whose sending has ended."""
        self._listeners.append(listener)

    def dock(self, files: Files) -> str:
        """Where a guest may be sent that is to have these files here; empty: nowhere."""
        return Destination(self._uri, files).to_uri() if self._uri else ""

    def take(self, vm_uuid: str, action: SendAction) -> None:
        """Take a step; all but the first are taken with a guest that is being sent, and need not be taken again."""
        match action:
            case Send(journey):
                self._begin(vm_uuid, journey)
                return
            case StopSending():
                self._hypervisor.stop_sending(vm_uuid)
            case AllowDowntime(downtime_ms):
                self._hypervisor.allow_downtime(vm_uuid, downtime_ms)
            case SendRestLater():
                self._hypervisor.send_rest_later(vm_uuid)
        with self._lock:
            self._told[vm_uuid] = self._told.get(vm_uuid, frozenset()) | {action}

    def sent(self, vm_uuid: str) -> Sent | None:
        """What is known of a guest that was begun to be sent."""
        with self._lock:
            return self._sent.get(vm_uuid)

    def told(self, vm_uuid: str) -> frozenset[Action]:
        """What a guest that is being sent was told."""
        with self._lock:
            return self._told.get(vm_uuid, frozenset())

    def forget(self, vm_uuid: str) -> None:
        """A VM is no longer here."""
        with self._lock:
            self._told.pop(vm_uuid, None)
            if (known := self._sent.get(vm_uuid)) and not known.under_way:
                del self._sent[vm_uuid]

    def _begin(self, vm_uuid: str, journey: Journey) -> None:
        with self._lock:
            known = self._sent.get(vm_uuid)
            if known and known.under_way:
                return
            self._sent[vm_uuid] = Sent(journey.epoch)
            self._told.pop(vm_uuid, None)
        threading.Thread(target=self._send, args=(vm_uuid, journey), name=f"send {vm_uuid}", daemon=True).start()

    def _send(self, vm_uuid: str, journey: Journey) -> None:
        problem = "its host's ucloud-vm failed to send it"
        try:
            self._hypervisor.send(vm_uuid, journey)
            problem = ""
        except UcloudError as error:
            problem = str(error)
            _log.warning("%s: %s", vm_uuid, error)
        finally:
            with self._lock:
                self._sent[vm_uuid] = Sent(journey.epoch, under_way=False, problem=problem)
                self._told.pop(vm_uuid, None)
            for listener in self._listeners:
                listener(vm_uuid)
