"""Who may read and write which key: the one table that etcd's roles are made from. Pure: it only names keys.

Each daemon is a user of etcd with a role of the same name, on a host together with the host's: "ucloud-vm@h1". A daemon
that guests speak to (ucloud_meta, ucloud_ipam) can write nothing, whatever a guest makes of it; nobody but ucloud_otp
reads seeds. etcd knows keys by how they begin, so what can't be said that way is not enforced: a note says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from common import keys

API, SCHEDULER, IMAGE, OTP = "ucloud-api", "ucloud-scheduler", "ucloud-image", "ucloud-otp"
UPLOAD = "ucloud-image-sftp"
HOST, ALIVE, VM, NET = "ucloud-host", "ucloud-host-alive", "ucloud-vm", "ucloud-net"
IPAM, FIREWALL, META = "ucloud-ipam", "ucloud-firewall", "ucloud-meta"

CONTROL = (API, SCHEDULER, IMAGE, UPLOAD, OTP)
"""The daemons that are of no host."""
OF_HOSTS = (HOST, ALIVE, VM, NET, IPAM, FIREWALL, META)
"""Those of which each host has its own."""
OWN = "<host>"
"""Stands for the daemon's own host in a key."""


@dataclass(frozen=True)
class Right:
    """Who may do what with `key`, or with all keys below it where it ends with a slash. Who writes may read, too."""

    key: str
    writers: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    note: str = ""


RIGHTS = (
    Right(keys.VM, (API, SCHEDULER), (IMAGE,), "the scheduler removes it when nothing of the VM is left"),
    Right(keys.PLACEMENT, (SCHEDULER,), (API, HOST), "the judge reads what is placed on a silent host"),
    Right(keys.placements(OWN), (), (VM, NET, IPAM, FIREWALL, META)),
    Right(
        keys.STATUS_VM, (SCHEDULER, API), (), "the scheduler removes those of dead hosts, the doctor what is left over"
    ),
    Right(keys.vm_statuses(OWN), (VM,)),
    Right(keys.HOST, (API,), (SCHEDULER, HOST, META)),
    Right(keys.STATUS_HOST, (), (API, SCHEDULER, HOST)),
    Right(keys.host_status(OWN), (HOST,)),
    Right(keys.INVENTORY, (), (API,)),
    Right(keys.inventory(OWN), (VM,)),
    Right(keys.ALIVE, (), (API, SCHEDULER, HOST)),
    Right(keys.alive(OWN), (ALIVE,)),
    Right(keys.STATUS_ALIVE, (), (API, HOST)),
    Right(keys.last_alive(OWN), (ALIVE,)),
    Right(keys.VERDICT, (HOST,), (API, SCHEDULER), "any host may be elected to judge the others"),
    Right(keys.verdict(OWN), (ALIVE,), (VM,), "a host that is back removes its own"),
    Right(keys.IMAGE, (API, IMAGE), (), "the image daemon removes it when nothing of the image is left"),
    Right(keys.STATUS_IMAGE, (IMAGE,), (API,)),
    Right(keys.STATUS_IMAGE_STORE, (IMAGE,), (API,)),
    Right(keys.IMAGE_USE, (API, SCHEDULER), (IMAGE,), "released with the VM"),
    Right(keys.USER, (API, SCHEDULER, IMAGE), (), "released with the VM or the image"),
    Right(keys.FILE, (IMAGE,), (API,)),
    Right(keys.UPLOAD_SERVER, (UPLOAD,), (API,)),
    Right(keys.ACCOUNT, (API,), (UPLOAD,)),
    Right(keys.PROJECT, (API,)),
    Right(keys.CHARGE, (API, SCHEDULER), (), "released with the VM"),
    Right(keys.SESSION, (API,)),
    Right(keys.PERSON, (API, UPLOAD)),
    Right(keys.LOGIN_DOOR, (API, UPLOAD)),
    Right(keys.KNOWN_NETWORK, (API, UPLOAD)),
    Right(keys.REQUEST, (API,)),
    Right(keys.OTP, (OTP,)),
    Right(keys.OTP_TRIES, (OTP,)),
    Right(keys.LEADER, (), (API, SCHEDULER, HOST, IMAGE), "who stands by watches the leader"),
    Right(keys.leader("scheduler"), (SCHEDULER,)),
    Right(keys.leader("host"), (HOST,)),
    Right(keys.leader("image"), (IMAGE,)),
    Right(keys.leader("image/"), (IMAGE,), (), "of other image stores than the default one"),
    Right(keys.EVENT, (), (API,)),
    Right(keys.events_of(keys.API_REPORTER), (API,)),
    Right(keys.events_of(keys.SCHEDULER_REPORTER), (SCHEDULER,)),
    Right(keys.events_of(keys.JUDGE_REPORTER), (HOST,)),
    Right(keys.events_of(keys.IMAGE_REPORTER), (IMAGE,)),
    Right(keys.events_of(OWN), (HOST, VM)),
    Right(keys.STATUS_CLOUD, (SCHEDULER,), (API,)),
    Right(keys.NETWORK, (API,), (VM, NET, IPAM, FIREWALL, META)),
    Right(keys.STATUS_NETWORK, (), (API,)),
    Right(keys.network_statuses(OWN), (NET,)),
    Right(keys.ENDPOINT, (NET,), (API,), "a host could write those of others: etcd can't tell, as the host comes last"),
    Right(keys.VNI, (API,)),
    Right(keys.PREFIX, (API, SCHEDULER), (), "released with the VM"),
    Right(keys.ADDRESS, (API, SCHEDULER), (IPAM,), "released with the VM"),
    Right(keys.PORT, (API, SCHEDULER), (), "released with the VM"),
    Right(keys.SECURITY_GROUP, (API,), (FIREWALL,)),
    Right(keys.GROUP_MEMBER, (API, SCHEDULER), (FIREWALL,), "released with the VM"),
    Right(keys.GROUP_USE, (API,)),
    Right(keys.SSH_KEY, (API,), (UPLOAD,)),
    Right(keys.NOTHING, (), (API,), "nothing is ever there"),
)


@dataclass(frozen=True)
class User:
    """A daemon as etcd knows it, by the common name of its certificate."""

    daemon: str
    host: str = ""

    @property
    def name(self) -> str:
        """ "ucloud-api", or "ucloud-vm@h1" on a host."""
        return f"{self.daemon}@{self.host}" if self.host else self.daemon

    def rights(self) -> Iterator[tuple[str, bool]]:
        """The keys (with a slash at their end: all below) that it may read, each with whether it may write them."""
        for right in RIGHTS:
            key = right.key.replace(OWN, self.host)
            if self.daemon in right.writers:
                yield key, True
            elif self.daemon in right.readers:
                yield key, False

    def may(self, key: str, *, write: bool) -> bool:
        """Whether it may read, or write, one key."""
        return any(
            (key.startswith(allowed) if allowed.endswith("/") else key == allowed) and (writes or not write)
            for allowed, writes in self.rights()
        )


def users_of_control() -> tuple[User, ...]:
    """The users of the control plane."""
    return tuple(map(User, CONTROL))


def users_of_host(host: str) -> tuple[User, ...]:
    """The users of one host."""
    return tuple(User(daemon, host) for daemon in OF_HOSTS)


def as_markdown() -> Iterator[str]:
    """The table as a document for people, line by line."""
    yield "# Who may do what in etcd\n"
    yield "Made by `make docs` from `common/rights.py`, as `ucloud-admin etcd-roles apply` sets it up: each daemon is a"
    yield "user with a role of its own, on a host together with it (`ucloud-vm@h1`). A slash at the end of a key stands"
    yield f"for all that is below, `{OWN}` for the daemon's own host. Who writes may read, too.\n"
    yield "| key | written by | read by | |"
    yield "|---|---|---|---|"
    for right in RIGHTS:
        yield f"| `{right.key}` | {', '.join(right.writers)} | {', '.join(right.readers)} | {right.note} |"
