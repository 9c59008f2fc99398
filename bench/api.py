"""Requests a second that the API answers, beside a bare Flask application under the same web server.

A cloud of 100,000 VMs in a real etcd, the program ucloud-api, and one load generator for both. A creation is beside
the bare transaction of the same keys as well. Every request is authenticated, all but one list as a plain user.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench import records, wrk
from bench.process import end_cleanly, running, wait_answering
from bench.report import Row, show
from common import keys
from common.settings import ApiSettings
from common.store import EtcdOptions, Store
from devcloud.etcd import EtcdCluster
from devcloud.ports import free_port

VMS = 100_000
OWNERS = 1000
HOSTS = 100
CREATORS = 200
ROUNDS = 8
LOAD_S = 2.0
_WARM_UP_S = 1.0
_LISTED_S = 120.0
_RAW_PROCESSES = 2

_HELLO, _GET, _LIST_OWN, _LIST_ALL, _CREATE = (
    "bare Flask",
    "GET a VM of one's own",
    "list 100 of one's own 100",
    f"list 100 of all {VMS:,} (admin)",
    "create a VM",
)
_RAW = "bare etcd transaction"


def main() -> None:
    """Measure and print. On /var/tmp, which is a disk where /tmp is memory."""
    end_cleanly()
    wrk.need()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name, ExitStack() as stack:
        directory = Path(name)
        etcd = stack.enter_context(EtcdCluster(directory))
        loads = _start(stack, directory, etcd)
        for load in loads:
            wrk.send(load, directory, _WARM_UP_S)
        rounds = [_round(loads, etcd.endpoints[0], directory) for _ in range(ROUNDS)]
    _show(rounds)


def _start(stack: ExitStack, directory: Path, etcd: EtcdCluster) -> list[wrk.Load]:
    """Fill etcd, start both servers, and return what to ask of them."""
    tokens = _fill(etcd)
    settings = ApiSettings()
    hello_port, api_port = free_port(), free_port()
    sizes = (str(settings.workers), str(settings.threads))
    hello_log, api_log = directory / "hello.log", directory / "api.log"
    hello_pid = stack.enter_context(
        running("bench.hello", settings.address, str(hello_port), *sizes, log=hello_log, environment={})
    )
    environment = {
        "UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints),
        "UCLOUD_API_PORT": str(api_port),
        "TMPDIR": str(directory),
    }
    api_pid = stack.enter_context(running("ucloud_api", log=api_log, environment=environment))
    hello, api = (f"http://[{settings.address}]:{port}" for port in (hello_port, api_port))
    wait_answering(hello, hello_log, _LISTED_S)
    for _ in range(2 * settings.workers):  # whichever worker answers
        wait_answering(f"{api}/healthz", api_log, _LISTED_S)
    user, admin, creators = tokens
    path = keys.VM.rstrip("/")
    body = json.dumps({"image": records.IMAGE_NAME, "specs": {"cpu": 1, "ram": "1GiB", "ssd": 10}})
    return [
        wrk.Load(_HELLO, hello_pid, hello, ["/"]),
        wrk.Load(_GET, api_pid, api, [f"{keys.vm(records.request(number, 'x').uuid)} {user}" for number in _vms_of(0)]),
        wrk.Load(_LIST_OWN, api_pid, api, [f"{path}?limit=100 {user}"]),
        wrk.Load(_LIST_ALL, api_pid, api, [f"{path}?limit=100 {admin}"]),
        wrk.Load(_CREATE, api_pid, api, [f"{path} {token}" for token in creators], "POST", body),
    ]


def _fill(etcd: EtcdCluster) -> tuple[str, str, list[str]]:
    """Write the cloud; returns the tokens of a user with VMs, of an admin, and of those who are to create VMs."""
    store = Store(EtcdOptions(etcd.endpoints))
    users = dict(records.user(_owner(number)) for number in range(OWNERS))
    admin, admin_records = records.user("admin", is_admin=True)
    creators = dict(records.user(f"creator-{number}") for number in range(CREATORS))

    def everything() -> Iterator[records.Pair]:
        yield from admin_records
        yield from records.image("admin")
        for pairs in (*users.values(), *creators.values()):
            yield from pairs
        for number in range(HOSTS):
            yield from records.host(f"h{number}")
        for number in range(VMS):
            yield from records.vm(number, _owner(number % OWNERS), f"h{number % HOSTS}")

    records.write(store, everything())
    store.close()
    return next(iter(users)), admin, list(creators)


def _owner(number: int) -> str:
    return f"user-{number}"


def _vms_of(owner: int) -> range:
    return range(owner, VMS, OWNERS)


def _round(loads: list[wrk.Load], endpoint: str, directory: Path) -> dict[str, wrk.Outcome]:
    """Each load once, and the bare transactions, by name."""
    outcomes = {load.name: wrk.send(load, directory, LOAD_S) for load in loads}
    threads = wrk.CONNECTIONS // _RAW_PROCESSES
    command = [sys.executable, "-m", "bench.raw_etcd", endpoint, f"{LOAD_S:g}", str(threads)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(_RAW_PROCESSES)]
    per_second = sum(float(writer.communicate(timeout=10 * LOAD_S)[0]) for writer in writers)
    return {**outcomes, _RAW: wrk.Outcome(per_second)}


def _show(rounds: list[dict[str, wrk.Outcome]]) -> None:
    values = {name: [each[name].per_second for each in rounds] for name in rounds[0]}
    refused = {name: max(each[name].refused for each in rounds) for name in rounds[0]}
    cpu_us = {name: [each[name].cpu_us for each in rounds] for name in rounds[0]}
    p99_ms = statistics.median(each[_GET].p99_ms for each in rounds)
    hello, raw = values[_HELLO], values[_RAW]
    settings = ApiSettings()
    show(
        f"The API: {settings.workers} workers of {settings.threads} threads, {wrk.CONNECTIONS} connections",
        "requests/s",
        [
            Row(_HELLO, hello, hello),
            Row(_GET, values[_GET], hello, ">= 0.60"),
            Row(_LIST_OWN, values[_LIST_OWN], hello),
            Row(_LIST_ALL, values[_LIST_ALL], hello),
            Row(_CREATE, values[_CREATE], hello),
            Row(_RAW, raw, raw),
            Row(f"{_CREATE}, by transaction", values[_CREATE], raw),
        ],
        notes=[
            f"{ROUNDS} rounds of {LOAD_S:g} s each in turn; the load generator and etcd share the cores",
            f"{_GET}: 99 of 100 within {p99_ms:.0f} ms",
            *(f"{name}: up to {part:.1%} of the answers were refusals" for name, part in refused.items() if part),
        ],
    )
    show(
        "Processor time that the web server's workers take for an answer",
        "us",
        [Row(name, cpu_us[name], cpu_us[_HELLO]) for name in (_HELLO, _GET, _LIST_OWN, _LIST_ALL, _CREATE)],
        notes=[
            "It suffers less than the rate from what else the machine does. Of two workers the busier one took",
            *(
                f"{statistics.median(each[name].busiest for each in rounds):.0%} of it, and up to"
                f" {max(each[name].busiest for each in rounds):.0%}: {name}"
                for name in (_HELLO, _GET)
            ),
        ],
    )
    if statistics.median(values[_GET]) < 0.6 * statistics.median(hello):
        print("MISSED: docs/benchmarks.md says what bounds it")


if __name__ == "__main__":
    main()
