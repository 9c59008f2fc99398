"""Two VM hosts and a VM that moves between them; the scheduler is the test, which takes its steps by hand."""

import re
import socket
from dataclasses import dataclass
from datetime import UTC, datetime

from common import keys
from common.schemas.port import Port
from common.schemas.vm import Actual, Leaving, MoveState, Placement, Requested, Role, Specs, VmRequest, VmStatus
from devcloud.errors import DeadlineExceeded
from devcloud.waiting import wait_for
from tests.integration.ucloud_vm.rig import BOOT_S, IMAGE, SPECS, Rig

MOVE_S = 90
_ALIVE = re.compile(r"alive ([0-9a-f-]{36}) ([0-9]+)\r?\n")
_TELL_ALIVE = (
    "n=0; while :; do n=$((n+1)); echo $n > /root/n; sync; "
    "echo 'alive' $(cat /proc/sys/kernel/random/boot_id) $n; sleep 0.2; done > /dev/ttyS0 &"
)


@dataclass(frozen=True)
class Move:
    """A VM on its way: the orders that both hosts have."""

    source: Rig
    target: Rig
    order: Placement
    incoming: Placement

    @property
    def vm(self) -> str:
        """The VM's uuid."""
        return self.order.request.uuid


@dataclass
class Vm:
    """A VM, the host that it is on, and the epoch of its placement there."""

    uuid: str
    host: Rig
    epoch: int = 1
    generation: int = 1
    requested: Requested = Requested.RUNNING
    image: str = IMAGE
    specs: Specs = SPECS
    ports: tuple[Port, ...] = ()
    seed_disk: bool = False
    user_data: str = ""

    @property
    def domain(self) -> str:
        """What libvirt calls it."""
        return f"ucloud-{self.uuid}"

    def request(self) -> VmRequest:
        """What its owner wants; forced, as a guest without a system answers no power button."""
        return VmRequest(
            uuid=self.uuid,
            owner="admin",
            name="test",
            specs=self.specs,
            image=self.image,
            requested=self.requested,
            force=True,
            generation=self.generation,
            created_at=datetime.now(UTC),
            ports=self.ports,
            seed_disk=self.seed_disk,
            user_data=self.user_data,
        )

    def order(self, **more: object) -> Placement:
        """A placement of it."""
        plain = {"epoch": self.epoch, "generation": self.generation, "placed_at": datetime.now(UTC)}
        return Placement.model_validate({**plain, "request": self.request(), **more})

    def place(self, actual: Actual) -> None:
        """Have it on its host, in a state that is waited for."""
        put(self.host, self.order())
        self.host.wait_status(self.uuid, actual, self.generation, timeout_s=BOOT_S)


class Pair:
    """Both hosts, and the scheduler's steps of a move (docs/design/0008-moves.md)."""

    def __init__(self, one: Rig, two: Rig) -> None:
        self.one = one
        self.two = two

    def other(self, rig: Rig) -> Rig:
        """The other host."""
        return self.two if rig is self.one else self.one

    def begin(self, vm: Vm, *, live: bool = True, copies_disks: bool = False) -> Move:
        """Step 1: the VM is to go to the other host."""
        source, target = vm.host, self.other(vm.host)
        leaving = Leaving(to=target.host.name, epoch=vm.epoch + 1, live=live, copies_disks=copies_disks)
        incoming = vm.order(
            epoch=vm.epoch + 1, role=Role.INCOMING, coming_from=source.host.name, copies_disks=copies_disks
        )
        move = Move(source, target, vm.order(leaving=leaving), incoming)
        put(source, move.order)
        put(target, incoming)
        return move

    def send(self, move: Move) -> Move:
        """Steps 2 and 3: the target is ready, the source may begin."""
        assert move.order.leaving is not None
        report = wait_move(move.target, move.vm, MoveState.READY).move
        assert report is not None
        uri = report.uri if move.order.leaving.live else "cold"
        told = move.order.leaving.model_copy(update={"uri": uri})
        move = Move(move.source, move.target, move.order.model_copy(update={"leaving": told}), move.incoming)
        put(move.source, move.order)
        return move

    def finish(self, vm: Vm, move: Move) -> None:
        """Steps 4 to 7: it has gone, it is the target's, and nothing is left on the source."""
        wait_move(move.source, move.vm, MoveState.DONE)
        self.hand_over(vm, move)
        self.clear(move)

    def hand_over(self, vm: Vm, move: Move) -> None:
        """Step 5."""
        vm.host, vm.epoch = move.target, move.incoming.epoch
        put(move.target, move.incoming.model_copy(update={"role": Role.RUN, "coming_from": None}))
        put(move.source, move.order.model_copy(update={"role": Role.LEFT}))

    def clear(self, move: Move) -> None:
        """Steps 6 and 7: nothing of it is left on the source."""
        rig, vm = move.source, move.vm
        rig.wait_status(vm, Actual.DELETED, move.order.generation, timeout_s=MOVE_S)
        assert rig.qemu_pids(vm) == set()
        assert vm not in rig.domains()
        rig.withdraw(vm)
        rig.wait_gone("status", lambda: rig.status(vm))

    def back_out(self, move: Move) -> None:
        """The VM stays on the source: nothing of it is left on the target."""
        rig, vm = move.target, move.vm
        rig.withdraw(vm)
        rig.wait_gone("status", lambda: rig.status(vm), MOVE_S)
        assert rig.qemu_pids(vm) == set()
        assert vm not in rig.domains()
        put(move.source, move.order.model_copy(update={"leaving": None}))

        def forgotten() -> bool:
            status = move.source.status(vm)
            return status is not None and status.move is None

        wait_for("the move forgotten", forgotten, MOVE_S)

    def remove(self, vm: Vm) -> None:
        """Have the VM deleted."""
        vm.requested = Requested.DELETED
        vm.generation += 1
        vm.place(Actual.DELETED)
        vm.host.withdraw(vm.uuid)
        vm.host.wait_gone("status", lambda: vm.host.status(vm.uuid))
        assert [*self.one.files(vm.uuid), *self.two.files(vm.uuid)] == []


def put(rig: Rig, placement: Placement) -> None:
    """Write a placement on a host."""
    rig.put(keys.placement(rig.host.name, placement.request.uuid), placement.to_json())


def wait_move(rig: Rig, vm: str, *states: MoveState) -> VmStatus:
    """Wait until a host says that a move is in one of `states`."""

    def look() -> VmStatus | None:
        status = rig.status(vm)
        return status if status and status.move and status.move.state in states else None

    try:
        return wait_for(f"a move that is {' or '.join(states)}", look, MOVE_S)
    except DeadlineExceeded as error:
        raise DeadlineExceeded(f"{error}, but {rig.status(vm)}") from None


def wait_under_way(move: Move) -> None:
    """Wait until memory is being sent, and the domain is on both hosts."""

    def look() -> bool:
        status = move.source.status(move.vm)
        has_begun = status is not None and status.move is not None and status.move.percent > 0
        return has_begun and bool(move.target.qemu_pids(move.vm))

    try:
        wait_for("memory being sent", look, MOVE_S)
    except DeadlineExceeded as error:
        raise DeadlineExceeded(f"{error}, but {move.source.status(move.vm)}") from None


def boot(vm: Vm) -> None:
    """Have its guest boot, and tell each moment on its serial line that it is alive; see `beats`."""
    vm.place(Actual.RUNNING)
    vm.host.wait_booted(vm.uuid)
    type_line(vm, "root", "# ")
    type_line(vm, _TELL_ALIVE, "alive ")


def type_line(vm: Vm, line: str, answer: str, tries: int = 1) -> None:
    """Type a line at the guest's serial console, and wait for its answer, which the line itself must not contain.

    The connection stays until then: with it goes what the guest has not taken yet. A line that may be typed again is
    given more `tries`: on a busy machine one was not answered now and then.
    """
    log = vm.host.serial_log(vm.uuid)
    begun_at = log.stat().st_size
    with socket.socket(socket.AF_UNIX) as console:
        console.connect(str(vm.host.host.run / "vm" / vm.uuid / "serial.sock"))
        while True:
            console.sendall(line.encode() + b"\n")
            try:
                wait_for(repr(answer), lambda: answer.encode() in log.read_bytes()[begun_at:], BOOT_S / tries)
                return
            except DeadlineExceeded as error:
                tries -= 1
                if not tries:
                    raise DeadlineExceeded(f"{error}; the guest said {log.read_bytes()[begun_at:][-1000:]!r}") from None


def beats(rig: Rig, vm: Vm) -> list[tuple[str, int]]:
    """Which boot of the guest has told of itself on a host, each time with a number that goes up."""
    log = rig.serial_log(vm.uuid)
    text = log.read_text(errors="replace") if log.exists() else ""
    return [(boot_id, int(number)) for boot_id, number in _ALIVE.findall(text)]


def wait_beat(vm: Vm, after: int = 0) -> tuple[str, int]:
    """Wait until the guest tells of itself on the host that it is on, with a number above `after`."""

    def look() -> tuple[str, int] | None:
        told = beats(vm.host, vm)
        return told[-1] if told and told[-1][1] > after else None

    return wait_for(f"a sign of life of the guest on {vm.host.host.name}", look, BOOT_S)


def throttle(rig: Rig, vm: Vm, mib_s: int) -> None:
    """Let a guest's memory be sent at this speed."""
    rig.virsh("migrate-setspeed", f"ucloud-{vm.uuid}", str(mib_s))
