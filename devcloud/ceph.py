"""A small Ceph on this machine: a monitor, an OSD on a sparse file, and a manager. Good for tests, for nothing else.

One copy of all data, and nothing of it outlives its directory. Sources: ceph-mon(8), ceph-osd(8), "Manual deployment"
in Ceph's documentation; CryptoKey::encode in src/auth/Crypto.cc for the form of a key.
"""

import base64
import json
import os
import secrets
import signal
import struct
import subprocess
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from common.settings import StorageSettings
from devcloud import processes
from devcloud.errors import DevcloudError
from devcloud.ports import free_port
from devcloud.waiting import wait_for

ADMIN, CLIENT = "admin", "ucloud"
_GIB = 1024**3
_AES = 1

_CONF = """\
[global]
fsid = {fsid}
mon host = [v2:{address}:{port}/0]
ms bind ipv4 = {ipv4}
ms bind ipv6 = {ipv6}
public network = {network}
cluster network = {network}
run dir = {directory}
pid file =
# A socket's path is short, and this directory's may not be.
admin socket =
crash dir = {directory}/log
log file = {directory}/log/$name.log
log to stderr = false
auth allow insecure global id reclaim = false
mon allow pool size one = true
mon allow pool delete = true
mon warn on pool no redundancy = false
mon data avail warn = 2
mon data avail crit = 1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd crush initial weight = 1
[client]
log file =
[client.admin]
keyring = {directory}/admin.keyring
[client.ucloud]
keyring = {directory}/ucloud.keyring
[mon]
mon data = {directory}/mon
keyring = {directory}/mon/keyring
mon initial members = a
# One monitor has nobody to wait for.
paxos propose interval = 0.1
[mgr]
mgr data = {directory}/mgr
keyring = {directory}/mgr/keyring
mgr initial modules =
[osd]
osd data = {directory}/osd
keyring = {directory}/osd/keyring
osd objectstore = bluestore
osd memory target = 939524096
osd class update on start = false
bluestore block size = {size_bytes}
bluestore block create = true
bluestore cache autotune = false
bluestore cache size = 134217728
bdev enable discard = false
"""


@dataclass(frozen=True)
class Layout:
    """Where its files are, where the monitor listens, and how much the OSD holds."""

    directory: Path
    address: str
    port: int
    size_bytes: int = 20 * _GIB

    @property
    def conf(self) -> Path:
        """What its clients are told by."""
        return self.directory / "ceph.conf"

    def keyring(self, client: str) -> Path:
        """The key of a client."""
        return self.directory / f"{client}.keyring"

    def daemons(self) -> dict[str, list[str]]:
        """The commands, which stay in the foreground, in the order in which they are to be started."""
        common = ["--foreground", "--conf", str(self.conf)]
        return {
            "ceph-mon": ["ceph-mon", "--id", "a", *common],
            "ceph-osd": ["ceph-osd", "--id", "0", *common],
            "ceph-mgr": ["ceph-mgr", "--id", "x", *common],
        }

    def make(self) -> None:
        """Make its files: settings, keys, an empty monitor, an empty OSD. Does nothing where they are."""
        if (self.directory / "made").exists():
            return
        for name in ("mon", "osd", "mgr", "log"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        fsid, osd_uuid = str(uuid.uuid4()), str(uuid.uuid4())
        is_ipv6 = ":" in self.address
        shown = f"[{self.address}]" if is_ipv6 else self.address
        self.conf.write_text(
            _CONF.format(
                fsid=fsid,
                address=shown,
                port=self.port,
                ipv4="false" if is_ipv6 else "true",
                ipv6="true" if is_ipv6 else "false",
                network=f"{self.address}/{128 if is_ipv6 else 32}",
                directory=self.directory,
                size_bytes=self.size_bytes,
            ),
            encoding="ascii",
        )
        keyring = self._write_keys()
        monmap = self.directory / "monmap"
        _run("monmaptool", "--create", "--clobber", "--fsid", fsid, "--enable-all-features", "--addv", "a",
             f"[v2:{shown}:{self.port}]", monmap)  # fmt: skip
        _run("ceph-mon", "--conf", self.conf, "--mkfs", "--id", "a", "--monmap", monmap, "--keyring", keyring)
        with (self.directory / "osd/block").open("wb") as block:
            block.truncate(self.size_bytes)
        _run("ceph-osd", "--conf", self.conf, "--id", "0", "--mkfs", "--monmap", monmap, "--osd-uuid", osd_uuid,
             "--no-mon-config")  # fmt: skip
        (self.directory / "made").write_text(osd_uuid, encoding="ascii")

    def furnish(self, pools: tuple[str, ...], timeout_s: float = 60) -> None:
        """Have the OSD taken in, and pools made; returns when they take data. The daemons must run."""
        import rbd  # noqa: PLC0415 - a package of Debian's, which only this needs

        with _admin(self) as cluster:
            _command(cluster, "osd new", uuid=(self.directory / "made").read_text(encoding="ascii"), id=0)
            wait_for("ceph-osd up", lambda: json.loads(_command(cluster, "osd stat"))["num_up_osds"], timeout_s)
            for pool in pools:
                if not cluster.pool_exists(pool):
                    _command(cluster, "osd pool create", pool=pool, pg_num=8, pool_type="replicated")
                with cluster.open_ioctx(pool) as ioctx:
                    rbd.RBD().pool_init(ioctx, True)

    def _write_keys(self) -> Path:
        """The keyring of each daemon and client; returns the one of the monitor's beginnings, which has them all."""
        every = {"mon": "allow *", "osd": "allow *", "mgr": "allow *"}
        entries = {
            self.keyring(ADMIN): (f"client.{ADMIN}", every),
            self.keyring(CLIENT): (f"client.{CLIENT}", dict.fromkeys(("mon", "osd", "mgr"), "profile rbd")),
            self.directory / "osd/keyring": (
                "osd.0",
                {"mon": "allow profile osd", "mgr": "allow profile osd", "osd": "allow *"},
            ),
            self.directory / "mgr/keyring": ("mgr.x", {"mon": "allow profile mgr", "osd": "allow *"}),
        }
        texts = [_entry("mon.", {"mon": "allow *"})]
        for path, (name, caps) in entries.items():
            texts.append(_entry(name, caps))
            _write_secret(path, texts[-1])
        first = self.directory / "first.keyring"
        _write_secret(first, "".join(texts))
        return first


class CephCluster:
    """A cluster whose daemons are children of this process, and end with it."""

    def __init__(self, directory: Path, pools: tuple[str, ...] = ("ssd", "hdd"), size_bytes: int = 20 * _GIB) -> None:
        self.layout = Layout(directory, "::1", free_port(), size_bytes)
        self._pools = pools
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *, manager: bool = True) -> None:
        """Start it; returns when its pools take data. Without the `manager` nobody knows how much room there is."""
        self.layout.make()
        for name in self.layout.daemons():
            if name == "ceph-mgr" and not manager:
                continue
            self.start_daemon(name)
            if name == "ceph-mon":
                self._announce_osd()
        self.layout.furnish(self._pools)

    def _announce_osd(self) -> None:
        """An OSD that the monitor does not know of would end at once."""
        osd_uuid = (self.layout.directory / "made").read_text(encoding="ascii")
        with self.admin() as cluster:
            _command(cluster, "osd new", uuid=osd_uuid, id=0)

    def stop(self) -> None:
        """End every daemon, frozen ones too."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
        self._processes.clear()

    def start_daemon(self, name: str) -> None:
        """Start "ceph-mon", "ceph-osd" or "ceph-mgr" unless it runs."""
        if name in self._processes:
            return
        with (self.layout.directory / f"{name}.out").open("ab") as log:
            # setpriv: a test run that is killed leaves no Ceph behind.
            command = ["setpriv", "--pdeathsig", "KILL", *self.layout.daemons()[name]]
            self._processes[name] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self, name: str) -> None:
        """End a daemon at once, as a crash does."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def pause(self, name: str) -> None:
        """Freeze a daemon: its connections stay open, and nothing answers."""
        processes.freeze(self._processes[name].pid)

    def resume(self, name: str) -> None:
        """Let a frozen daemon go on."""
        processes.send([self._processes[name].pid], signal.SIGCONT)

    def admin(self) -> Any:
        """A connection of the admin's (rados.Rados), which `with` makes and ends."""
        return _admin(self.layout)

    def command(self, prefix: str, **arguments: object) -> str:
        """What the monitor answers to a command of the admin's."""
        with self.admin() as cluster:
            return _command(cluster, prefix, **arguments)

    def storage_settings(self, timeout_s: int = 10) -> StorageSettings:
        """The settings of a store here: the first pool is for SSDs, the second for HDDs."""
        ssd, *others = self._pools
        return StorageSettings(
            kind="rbd",
            rbd_conf=self.layout.conf,
            rbd_client=CLIENT,
            rbd_keyring=self.layout.keyring(CLIENT),
            rbd_ssd_pool=ssd,
            rbd_hdd_pool=others[0] if others else None,
            rbd_timeout_s=timeout_s,
        )

    def knows_room(self) -> bool:
        """Whether the manager has told how much room there is in each pool."""
        pools = {pool["name"]: pool["stats"] for pool in json.loads(self.command("df"))["pools"]}
        return all(pools.get(pool, {}).get("max_avail") for pool in self._pools)

    def objects(self, pool: str) -> set[str]:
        """The names of all objects of RADOS in a pool, but for those that are kept for a snapshot alone."""
        with self.admin() as cluster, cluster.open_ioctx(pool) as ioctx:
            return {str(found.key) for found in ioctx.list_objects() if _exists(ioctx, found.key)}

    def empty(self) -> None:
        """Remove all that is in its pools, whoever has it open."""
        import rados  # noqa: PLC0415
        import rbd  # noqa: PLC0415

        with self.admin() as cluster:
            for pool in self._pools:
                with cluster.open_ioctx(pool) as ioctx:
                    for found in ioctx.list_objects():
                        # Of what is kept for a snapshot alone, it tells as well.
                        with suppress(rados.ObjectNotFound):
                            ioctx.remove_object(found.key)
                    rbd.RBD().pool_init(ioctx, True)

    def rbd(self, *arguments: str) -> str:
        """What the program rbd says to the admin."""
        command = ["rbd", "--conf", str(self.layout.conf), "--id", ADMIN, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    def __enter__(self) -> "CephCluster":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def _admin(layout: Layout) -> Any:
    import rados  # noqa: PLC0415

    limits = {"client_mount_timeout": "60", "rados_mon_op_timeout": "60", "rados_osd_op_timeout": "60"}
    return rados.Rados(conffile=str(layout.conf), name=f"client.{ADMIN}", conf=limits)


def _exists(ioctx: Any, key: str) -> bool:
    import rados  # noqa: PLC0415

    try:
        ioctx.stat(key)
    except rados.ObjectNotFound:
        return False
    return True


def _entry(name: str, caps: dict[str, str]) -> str:
    """A new key with its rights, as a keyring has it."""
    key = struct.pack("<HIIH", _AES, int(time.time()), 0, 16) + secrets.token_bytes(16)
    lines = [f"[{name}]", f"key = {base64.b64encode(key).decode()}"]
    lines += [f'caps {who} = "{what}"' for who, what in caps.items()]
    return "\n".join(lines) + "\n"


def _write_secret(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _command(cluster: Any, prefix: str, **arguments: object) -> str:
    status, out, said = cluster.mon_command(json.dumps({"prefix": prefix, "format": "json", **arguments}), b"")
    if status:
        raise DevcloudError(f"ceph {prefix}: {said}")
    return str(out.decode())


def _run(*command: object) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise DevcloudError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-500:]}")
