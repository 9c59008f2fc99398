"""A storm: tenants take VMs through their lives while every second a program of the cloud is killed.

What must hold meanwhile is looked at in etcd at one revision, and on the hosts; what must hold afterwards, everywhere.
"""

import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from common import keys
from common.schemas.user import Amounts, Charge
from common.schemas.vm import VmRequest
from common.store import EtcdOptions, Store
from devcloud.cloud import Cloud
from devcloud.errors import DevcloudError
from tests.system.tenant import Tenant
from ucloud_vm.libvirt.domain import NAME_PREFIX

_ETCD_EACH_S = 15


@dataclass
class Storm:
    """Kills a random program of `cloud` each second, and etcd's leader now and then. `with` it, it rages."""

    cloud: Cloud
    chance: random.Random
    spared: Sequence[str] = ()
    """Programs whose names begin so are left alone."""
    killed: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._rage)
        self._programs = [
            program for program in self.cloud.programs() if not program.startswith(("etcd", *self.spared))
        ]

    def __enter__(self) -> "Storm":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _rage(self) -> None:
        seconds = 0
        while not self._stop.wait(1):
            seconds += 1
            program = self.chance.choice(self._programs)
            try:
                if seconds % _ETCD_EACH_S == 0:
                    program = self.cloud.etcd_leader()
                self.cloud.kill(program)
            except DevcloudError:
                continue  # it is just being started anew
            self.killed[program] += 1


def live(tenant: Tenant, name: str, image: str, specs: dict[str, object], chance: random.Random) -> None:
    """Take one VM through a life: each verb, each result awaited."""
    vm = tenant.create(name, image, specs)
    tenant.wait_status(vm, "RUNNING")
    tenant.request(vm, "suspend")
    tenant.wait_status(vm, "SUSPENDED")
    tenant.request(vm, "resume")
    tenant.wait_status(vm, "RUNNING")
    tenant.request(vm, "stop", {"force": True})
    tenant.wait_status(vm, "STOPPED")
    tenant.request(vm, "start")
    tenant.wait_status(vm, "RUNNING")
    if chance.random() < 0.3:
        tenant.request(vm, "reboot", {"force": True})
        tenant.wait_status(vm, "RUNNING")
    tenant.request(vm, "delete")
    tenant.wait_gone(vm)


@dataclass
class Books:
    """What etcd holds of VMs and their costs, all at one revision."""

    requests: dict[str, VmRequest]
    charged: dict[str, Amounts]
    placed: dict[str, list[str]]
    names: dict[str, str]
    image_uses: set[str]

    def errors(self) -> list[str]:
        """Where they don't add up: each charge is that of a VM, each VM is charged, and is placed once at most."""
        owed = {vm: Amounts.of(request.specs) for vm, request in self.requests.items()}
        found = [
            f"VM {vm}: charged {self.charged.get(vm)}, costs {owed.get(vm)}"
            for vm in owed.keys() | self.charged
            if owed.get(vm) != self.charged.get(vm)
        ]
        found += [f"VM {vm} is placed on {hosts}" for vm, hosts in self.placed.items() if len(hosts) > 1]
        taken = {keys.name(request.owner, "vm", request.name): vm for vm, request in self.requests.items()}
        if taken != self.names:
            found.append(f"names {set(taken.items()) ^ set(self.names.items())}")
        if self.image_uses != set(self.requests):
            found.append(f"images in use by {self.image_uses ^ set(self.requests)}")
        return found


def read_books(store: Store) -> Books:
    """The books as of now."""
    books = Books({}, {}, {}, {}, set())
    for entry in store.list(keys.ROOT).entries:
        last = keys.last_part(entry.key)
        if entry.key.startswith(keys.VM):
            books.requests[last] = VmRequest.read(entry.key, entry.value)
        elif entry.key.startswith(keys.CHARGE):
            books.charged[last] = Charge.read(entry.key, entry.value).amounts
        elif entry.key.startswith(keys.PLACEMENT):
            books.placed.setdefault(last, []).append(keys.host_and_vm(entry.key)[0])
        elif entry.key.startswith(keys.USER) and "/name/vm/" in entry.key:
            books.names[entry.key] = entry.value.decode()
        elif entry.key.startswith(keys.IMAGE_USE):
            books.image_uses.add(last)
    return books


@dataclass
class Watchman:
    """Looks, as long as the storm lasts, whether the books add up and nothing runs twice."""

    cloud: Cloud
    errors: list[str] = field(default_factory=list)
    looks: int = 0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._store = Store(EtcdOptions(self.cloud.etcd_endpoints))

    def __enter__(self) -> "Watchman":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._store.close()

    def _watch(self) -> None:
        while not self._stop.wait(2):
            self.errors += read_books(self._store).errors()
            self.errors += [f"VM {vm} runs on {hosts}" for vm, hosts in running(self.cloud).items() if len(hosts) > 1]
            self.looks += 1


def running(cloud: Cloud) -> dict[str, list[str]]:
    """The hosts that each VM runs on; those whose libvirtd is just being started anew are left out."""
    found: dict[str, list[str]] = {}
    for host in cloud.hosts:
        listed = subprocess.run(
            cloud.enter(host.name, *host.virsh("list", "--name")), capture_output=True, text=True, check=False
        )
        for domain in listed.stdout.split():
            if domain.startswith(NAME_PREFIX):
                found.setdefault(domain.removeprefix(NAME_PREFIX), []).append(host.name)
    return found


@dataclass
class Report:
    """What became of the lives."""

    lives: int = 0
    failures: list[str] = field(default_factory=list)
    took_s: float = 0.0


def run_lives(
    tenants: Sequence[Tenant], names: Sequence[str], image: str, specs: dict[str, object], seed: int, threads: int
) -> Report:
    """Take a VM of each name through its life, `threads` at a time, spread over the tenants."""
    report, left, lock = Report(), list(reversed(list(enumerate(names)))), threading.Lock()
    began = time.monotonic()

    def work() -> None:
        while True:
            with lock:
                if not left:
                    return
                number, name = left.pop()
            try:
                live(tenants[number % len(tenants)], name, image, specs, random.Random(f"{seed}-{number}"))  # noqa: S311
            except (AssertionError, DevcloudError) as error:
                with lock:
                    report.failures.append(f"{name}: {error}")
            else:
                with lock:
                    report.lives += 1

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    report.took_s = time.monotonic() - began
    return report
