"""Moves of a guest that runs: by ucloud's API, beside the same guest's by `virsh migrate`, in turn.

    python -m bench.migration --moves 100

Both guests are of one image, on one cloud of three hosts with a shared store, and go round: h1, h2, h3, h1 ... libvirt
tells for how long QEMU stood still; for how long the guest was not heard of is looked at as well (heartbeat.py).
"""

import argparse
import re
import shutil
import subprocess
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import requests

from bench import by_hand, records
from bench.client import Client, import_image
from bench.heartbeat import Heartbeat
from bench.process import end_cleanly
from bench.report import Row, show
from common import keys
from devcloud import first_vm
from devcloud.cloud import Cloud, Shape
from devcloud.waiting import wait_for

_SPECS = {"cpu": 1, "ram": "128MiB", "ssd": 1}
_HOSTS = ("h1", "h2", "h3")
_DEADLINE_S = 180.0
_LOOK_EVERY_S = 0.02
_DOWNTIME = re.compile(r"Total downtime:\s+([0-9]+)")


@dataclass
class Times:
    """What was measured of each move, in milliseconds. `downtime` is libvirt's figure."""

    whole: list[float] = field(default_factory=list)
    downtime: list[float] = field(default_factory=list)
    silence: list[float] = field(default_factory=list)


class Ucloud:
    """A VM of the cloud, moved by its API."""

    def __init__(self, cloud: Cloud, client: Client) -> None:
        self._cloud = cloud
        self._http = requests.Session()
        self._http.headers.update(cloud.headers())
        self.uuid = client.create(keys.VM, {"image": records.IMAGE_NAME, "specs": _SPECS})
        client.wait(keys.vm(self.uuid), "RUNNING")
        self.host = self._look()[0]
        self.heartbeat = Heartbeat([cloud.data / host / "log" / f"{self.uuid}.log" for host in _HOSTS])
        self.heartbeat.begin(cloud.run / self.host / "vm" / self.uuid / "serial.sock")

    def move(self, target: str) -> None:
        """Move it; returns when it is told that it runs there, and nothing of it is left where it was."""
        # By a connection of its own: the other's may have been idle for long enough to be closed just now.
        answer = requests.post(f"{self._url}/migrate", json={"to": target}, headers=self._cloud.headers(), timeout=30)
        answer.raise_for_status()
        wait_for(f"the VM on {target}", lambda: self._look() == (target, "RUNNING"), _DEADLINE_S, _LOOK_EVERY_S)
        self.host = target

    def name(self) -> str:
        """The name of its domain."""
        return f"ucloud-{self.uuid}"

    def _look(self) -> tuple[str, str]:
        shown = self._http.get(self._url, timeout=30).json()
        return shown["hostname"].rpartition("/")[2], shown["status"]

    @property
    def _url(self) -> str:
        return f"{self._cloud.url}{keys.vm(self.uuid)}"


class ByHand:
    """A domain like that VM's, moved by `virsh migrate`."""

    def __init__(self, cloud: Cloud, sample: by_hand.Sample, directory: Path) -> None:
        self._cloud = cloud
        self._name = f"by-hand-{uuid.uuid4().hex[:8]}"
        self.host = sample.host
        disk, xml = directory / "root.qcow2", directory / "domain.xml"
        xml.write_text(by_hand.describe(sample, self._name, directory), encoding="utf-8")
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(sample.template), str(disk), "1G"],
            check=True,
        )
        virsh(cloud, self.host, "define", str(xml))
        virsh(cloud, self.host, "start", self._name)
        self.heartbeat = Heartbeat([directory / "serial.log"])
        self.heartbeat.begin(directory / "serial.sock")

    def move(self, target: str) -> None:
        """Move it; returns when it runs there and is gone where it was."""
        options = ("--live", "--p2p", "--persistent", "--undefinesource", "--auto-converge", "--unsafe")
        there = next(host for host in self._cloud.hosts if host.name == target)
        stream = f"unix://{there.run}/libvirt/{self._name}.memory"
        virsh(self._cloud, self.host, "migrate", *options, self._name, there.migration_uri, stream)
        self.host = target

    def name(self) -> str:
        """The name of its domain."""
        return self._name

    def remove(self) -> None:
        """End it."""
        virsh(self._cloud, self.host, "destroy", self._name)
        virsh(self._cloud, self.host, "undefine", self._name)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=20, help="moves of each guest (default: 20)")
    moves = parser.parse_args().moves
    end_cleanly()
    # A host that is busy with all of this is not to be taken for one that is cut off: its guests would be ended.
    cloud = Cloud("bench-move", Shape(hosts=len(_HOSTS), alive_ttl_s=10))
    directory = Path(tempfile.mkdtemp(prefix="uc-"))  # short, for the paths of sockets
    try:
        cloud.up()
        client = Client(cloud)
        import_image(cloud, client, first_vm.build_image())
        ours = Ucloud(cloud, client)
        hand = ByHand(cloud, by_hand.Sample.take(cloud, ours.host, ours.uuid), directory)
        times = {"ucloud": Times(), "virsh": Times()}
        for _ in range(moves):
            for who, guest in (("ucloud", ours), ("virsh", hand)):
                _measure(cloud, guest, times[who])
        for guest in (ours, hand):
            guest.heartbeat.close()
        hand.remove()
        client.delete(keys.vm(ours.uuid))
    finally:
        cloud.down()
        shutil.rmtree(directory, ignore_errors=True)
    _show(times["ucloud"], times["virsh"], moves)


def _measure(cloud: Cloud, guest: Ucloud | ByHand, times: Times) -> None:
    """Move a guest to the next host, and note how that went."""
    target = _HOSTS[(_HOSTS.index(guest.host) + 1) % len(_HOSTS)]
    last = guest.heartbeat.reset()
    began = time.monotonic()
    guest.move(target)
    times.whole.append(1000 * (time.monotonic() - began))
    times.silence.append(1000 * guest.heartbeat.longest_silence_s(last))
    told = _DOWNTIME.search(virsh(cloud, target, "domjobinfo", "--completed", guest.name()))
    times.downtime.append(float(told[1]) if told else 0.0)


def virsh(cloud: Cloud, host: str, *arguments: str) -> str:
    """What virsh says on a host; RuntimeError with its complaint when it fails."""
    command = cloud.enter(host, "virsh", "-q", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_DEADLINE_S)
    if done.returncode:
        raise RuntimeError(f"virsh {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _show(ours: Times, hand: Times, moves: int) -> None:
    show(
        f"A guest of 128 MiB that runs moves {moves} times to another host",
        "ms",
        [
            Row("virsh migrate: until it returns", hand.whole, hand.whole),
            Row("ucloud: until the API tells that it runs there", ours.whole, hand.whole),
            Row("virsh migrate: QEMU stands still (libvirt's figure)", hand.downtime),
            Row("ucloud: QEMU stands still (libvirt's figure)", ours.downtime),
            Row("virsh migrate: longest silence of a guest that beats each 100 ms", hand.silence, hand.silence),
            Row("ucloud: longest silence of a guest that beats each 100 ms", ours.silence, hand.silence),
        ],
    )


if __name__ == "__main__":
    main()
