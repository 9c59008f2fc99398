"""What the checks look at: all records of the cloud as of one revision, and what hosts and etcd said beside."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, TypeVar

from common import keys
from common.errors import MalformedRecord
from common.schemas.host import Alive, HostRequest, HostStatus
from common.schemas.image import ImageRequest, ImageStatus
from common.schemas.inventory import Inventory, InventoryDoor
from common.schemas.network import AddressHolder, Endpoint, NetworkRequest, NetworkStatus, SecurityGroup
from common.schemas.record import Record
from common.schemas.ssh_key import SshKey
from common.schemas.user import Account, Charge
from common.schemas.verdict import Verdict
from common.schemas.vm import Placement, VmRequest, VmStatus
from common.store import Compare, Entry, MemberStatus, Store, absent, unchanged

R = TypeVar("R", bound=Record)

_LEASED = (keys.ALIVE, keys.LEADER, keys.SESSION)
"""What must go with its lease."""
_PREFIXES = (
    *(keys.VM, keys.PLACEMENT, keys.STATUS_VM, keys.HOST, keys.STATUS_HOST, keys.INVENTORY, keys.ALIVE, keys.VERDICT),
    *(keys.IMAGE, keys.STATUS_IMAGE, keys.IMAGE_USE, keys.USER, keys.ACCOUNT, keys.CHARGE, keys.LEADER, keys.SESSION),
    *(keys.NETWORK, keys.STATUS_NETWORK, keys.ENDPOINT, keys.SECURITY_GROUP, keys.SSH_KEY),
)
_HELD = (keys.VNI, keys.PREFIX, keys.PORT, keys.ADDRESS, keys.GROUP_MEMBER, keys.GROUP_USE)
"""What networks, the ports of VMs and security groups hold."""


@dataclass(frozen=True, slots=True)
class Found(Generic[R]):
    """A record, and the revision that it was written at."""

    record: R
    revision: int


@dataclass(frozen=True)
class Answer:
    """What a host said when it was asked. `skew_s` is how far its clock is surely ahead of (or, negative, behind) ours.

    `problem` is why there is no answer.
    """

    inventory: Inventory | None = None
    skew_s: float = 0.0
    problem: str = ""


Pair = tuple[str, str]


@dataclass(frozen=True)
class Snapshot:
    """All that is known. Pairs are as keys have them: (host, VM), (image, VM), (owner, thing), (host, network),
    (network, host) of endpoints; names are (owner, kind, name).
    """

    at: datetime
    api_version: str
    revisions: Mapping[str, int]
    """Of all keys, readable or not, the revision they were written at."""
    vms: Mapping[str, Found[VmRequest]] = field(default_factory=dict)
    placements: Mapping[Pair, Found[Placement]] = field(default_factory=dict)
    statuses: Mapping[Pair, Found[VmStatus]] = field(default_factory=dict)
    hosts: Mapping[str, Found[HostRequest]] = field(default_factory=dict)
    host_statuses: Mapping[str, Found[HostStatus]] = field(default_factory=dict)
    doors: Mapping[str, Found[InventoryDoor]] = field(default_factory=dict)
    verdicts: Mapping[str, Found[Verdict]] = field(default_factory=dict)
    images: Mapping[str, Found[ImageRequest]] = field(default_factory=dict)
    image_statuses: Mapping[str, Found[ImageStatus]] = field(default_factory=dict)
    accounts: Mapping[str, Found[Account]] = field(default_factory=dict)
    charges: Mapping[Pair, Found[Charge]] = field(default_factory=dict)
    networks: Mapping[str, Found[NetworkRequest]] = field(default_factory=dict)
    network_statuses: Mapping[Pair, Found[NetworkStatus]] = field(default_factory=dict)
    endpoints: Mapping[Pair, Found[Endpoint]] = field(default_factory=dict)
    groups: Mapping[str, Found[SecurityGroup]] = field(default_factory=dict)
    held: Mapping[str, bytes] = field(default_factory=dict)
    """What networks, ports and groups hold, by key: what it says."""
    image_uses: frozenset[Pair] = frozenset()
    names: Mapping[tuple[str, str, str], str] = field(default_factory=dict)
    malformed: Mapping[str, str] = field(default_factory=dict)
    leaseless: tuple[str, ...] = ()
    answers: Mapping[str, Answer] = field(default_factory=dict)
    """By host, of those that were asked."""
    members: tuple[MemberStatus, ...] = ()

    def has(self, key: str) -> bool:
        """Whether there is something at `key`, readable or not."""
        return key in self.revisions

    def same(self, key: str) -> Compare:
        """That `key` is still as it was here."""
        return unchanged(key, self.revisions[key]) if key in self.revisions else absent(key)

    def is_alive(self, host: str) -> bool:
        """Whether a host's sign of life is there."""
        return self.has(keys.alive(host))

    def is_known(self, host: str) -> bool:
        """Whether a host ever registered, or shows a sign of life."""
        return self.has(keys.host_status(host)) or self.is_alive(host)


class _Reader:
    """Sorts entries into records and what can't be read."""

    def __init__(self) -> None:
        self.malformed: dict[str, str] = {}
        self.entries: dict[str, tuple[Entry, ...]] = {}

    def records(self, prefix: str, kind: type[R]) -> dict[str, Found[R]]:
        """The records below a prefix, by the rest of the key."""
        found = {}
        for entry in self.entries[prefix]:
            try:
                record = kind.read(entry.key, entry.value)
            except MalformedRecord as error:
                self.malformed[entry.key] = error.problem
            else:
                found[entry.key.removeprefix(prefix)] = Found(record, entry.mod_revision)
        return found

    def pairs(self, prefix: str, kind: type[R]) -> dict[Pair, Found[R]]:
        """The same, by the two parts of the rest."""
        return {_pair(name): found for name, found in self.records(prefix, kind).items()}

    def names(self) -> dict[tuple[str, str, str], str]:
        """Who holds which name."""
        found = {}
        for entry in self.entries[keys.USER]:
            owner, kind, name = keys.name_parts(entry.key)
            found[owner, kind, name] = entry.value.decode(errors="replace")
        return found

    def held(self) -> dict[str, bytes]:
        """What networks, ports and groups hold; records as they would be written today."""
        found = {entry.key: entry.value for prefix in _HELD for entry in self.entries[prefix]}
        holders = self.records(keys.ADDRESS, AddressHolder)
        return found | {f"{keys.ADDRESS}{name}": holder.record.to_json() for name, holder in holders.items()}


def read(store: Store, api_version: str) -> Snapshot:
    """All records as of one revision; Compacted when that took longer than etcd remembers it."""
    reader, revision = _Reader(), 0
    for prefix in (*_PREFIXES, *_HELD):
        listing = store.list_at(revision, prefix)
        revision = revision or listing.revision
        reader.entries[prefix] = listing.entries
    reader.records(keys.ALIVE, Alive)  # only for what can't be read
    reader.records(keys.SSH_KEY, SshKey)
    everything = [entry for entries in reader.entries.values() for entry in entries]
    return Snapshot(
        at=datetime.now(UTC),
        api_version=api_version,
        revisions={entry.key: entry.mod_revision for entry in everything},
        vms=reader.records(keys.VM, VmRequest),
        placements=reader.pairs(keys.PLACEMENT, Placement),
        statuses=reader.pairs(keys.STATUS_VM, VmStatus),
        hosts=reader.records(keys.HOST, HostRequest),
        host_statuses=reader.records(keys.STATUS_HOST, HostStatus),
        doors=reader.records(keys.INVENTORY, InventoryDoor),
        verdicts=reader.records(keys.VERDICT, Verdict),
        images=reader.records(keys.IMAGE, ImageRequest),
        image_statuses=reader.records(keys.STATUS_IMAGE, ImageStatus),
        accounts=reader.records(keys.ACCOUNT, Account),
        charges=reader.pairs(keys.CHARGE, Charge),
        networks=reader.records(keys.NETWORK, NetworkRequest),
        network_statuses=reader.pairs(keys.STATUS_NETWORK, NetworkStatus),
        endpoints=reader.pairs(keys.ENDPOINT, Endpoint),
        groups=reader.records(keys.SECURITY_GROUP, SecurityGroup),
        held=reader.held(),
        image_uses=frozenset(_pair(entry.key.removeprefix(keys.IMAGE_USE)) for entry in reader.entries[keys.IMAGE_USE]),
        names=reader.names(),
        malformed=reader.malformed,
        leaseless=tuple(entry.key for prefix in _LEASED for entry in reader.entries[prefix] if not entry.lease),
        members=store.members(),
    )


def _pair(name: str) -> Pair:
    first, _, second = name.partition("/")
    return first, second
