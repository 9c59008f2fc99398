"""Checks of what networks, ports and security groups hold: all of it and nothing else, each by who says so. Pure.

What should be held follows from the records by the same functions that charge it (common.admission).
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from common import admission, keys
from common.admission import Step
from common.errors import MalformedRecord
from common.schemas.network import AddressHolder
from common.store import Delete, Put
from ucloud_api.doctor.finding import Check, Finding, error, warning
from ucloud_api.doctor.snapshot import Snapshot

_KINDS = {
    keys.VNI: "vni",
    keys.PREFIX: "prefix",
    keys.PORT: "port",
    keys.ADDRESS: "address",
    keys.GROUP_MEMBER: "group-member",
    keys.GROUP_USE: "group-use",
}
"""What is held, by its prefix, as codes of findings have it."""


@dataclass(frozen=True)
class _Claim:
    """That the thing at `thing` holds a key, which is to say `value`."""

    thing: str
    value: bytes


def _claims(snapshot: Snapshot) -> dict[str, list[_Claim]]:
    """Who is to hold which keys, by what all records say."""
    claims: dict[str, list[_Claim]] = {}

    def add(thing: str, held: Mapping[str, bytes]) -> None:
        for key, value in held.items():
            claims.setdefault(key, []).append(_Claim(thing, value))

    for uuid, vm in snapshot.vms.items():
        add(keys.vm(uuid), admission.port_keys(vm.record))
    for uuid, network in snapshot.networks.items():
        add(keys.network(uuid), admission.network_keys(network.record))
    for uuid, group in snapshot.groups.items():
        add(keys.security_group(uuid), admission.group_uses(group.record))
    return claims


def _holdings(snapshot: Snapshot) -> Iterator[Finding]:
    claims = _claims(snapshot)
    for key, claimants in claims.items():
        yield from _claimed(snapshot, key, claimants)
    for key, value in snapshot.held.items():
        if key not in claims and not _may_be_of_malformed(snapshot):
            yield _unclaimed(snapshot, key, value)


def _may_be_of_malformed(snapshot: Snapshot) -> bool:
    """Whether a record that can't be read may be the one that a key is held for."""
    return any(key.startswith((keys.VM, keys.NETWORK, keys.SECURITY_GROUP)) for key in snapshot.malformed)


def _claimed(snapshot: Snapshot, key: str, claimants: list[_Claim]) -> Iterator[Finding]:
    what, things = _what(key), " and ".join(claim.thing for claim in claimants)
    first = claimants[0]
    if len(claimants) > 1:
        advice = "detach or delete one of them"
        yield error(f"two-of-one-{what}", first.thing, f"{things} both have {_shown(key)}", advice)
        return
    said = snapshot.held.get(key)
    if said == first.value:
        return
    fix = Step((snapshot.same(key), snapshot.same(first.thing)), (Put(key, first.value),))
    if said is None:
        sentence = f"{first.thing} has {_shown(key)}, and does not hold it"
        yield warning(f"{what}-not-held", first.thing, sentence, "take it", fix)
    else:
        sentence = f"{_shown(key)} is {first.thing}'s, and says otherwise"
        yield warning(f"{what}-differs", key, sentence, "have it say so", fix)


def _unclaimed(snapshot: Snapshot, key: str, value: bytes) -> Finding:
    """A key that is held for nothing. What it is held for is compared to be as it was; all else must find it free."""
    compares = (snapshot.same(key), *map(snapshot.same, _holders(key, value)))
    sentence = f"{_shown(key)} is held for nothing that has it"
    return warning(f"{_what(key)}-without-holder", key, sentence, "give it back", Step(compares, (Delete(key),)))


def _holders(key: str, value: bytes) -> tuple[str, ...]:
    """Where that is, or was, for which a key is held."""
    if key.startswith(keys.GROUP_USE):
        return (keys.security_group(keys.last_part(key)),)
    if key.startswith(keys.ADDRESS):
        with suppress(MalformedRecord):
            return (keys.vm(AddressHolder.read(key, value).vm),)
        return ()
    holder = value.decode(errors="replace")
    of_vm, of_network = (keys.vm(holder),), (keys.network(holder),)
    return of_network if key.startswith(keys.VNI) else of_vm + of_network if key.startswith(keys.PREFIX) else of_vm


def _what(key: str) -> str:
    return next(kind for prefix, kind in _KINDS.items() if key.startswith(prefix))


def _shown(key: str) -> str:
    return f"{_what(key)} {key.removeprefix(next(prefix for prefix in _KINDS if key.startswith(prefix)))}"


def _plugs(snapshot: Snapshot) -> Iterator[Finding]:
    for uuid, vm in snapshot.vms.items():
        for port in vm.record.ports:
            if not snapshot.has(keys.network(port.network)):
                sentence = f"VM {uuid} is plugged into network {port.network}, which is gone"
                advice = f"detach port {port.id}, or restore /v1/network from a backup"
                yield error("port-without-network", keys.vm(uuid), sentence, advice)
            for group in port.security_groups:
                if not snapshot.has(keys.security_group(group)):
                    sentence = f"port {port.id} of VM {uuid} is in security group {group}, which is gone"
                    advice = "detach it and attach it anew: nothing is let in by that group"
                    yield error("port-without-group", keys.vm(uuid), sentence, advice)


def _rules(snapshot: Snapshot) -> Iterator[Finding]:
    for uuid, found in snapshot.groups.items():
        gone = {rule.group for rule in found.record.rules if rule.group} - {uuid}
        for group in sorted(each for each in gone if not snapshot.has(keys.security_group(each))):
            sentence = f"a rule of security group {uuid} is about group {group}, which is gone"
            yield warning("rule-without-group", keys.security_group(uuid), sentence, "remove the rule")


def _ssh_keys(snapshot: Snapshot) -> Iterator[Finding]:
    for key in snapshot.revisions:
        if key.startswith(keys.SSH_KEY):
            owner = key.removeprefix(keys.SSH_KEY).split("/")[0]
            if not snapshot.has(keys.account(owner)):
                fix = Step((snapshot.same(key), snapshot.same(keys.account(owner))), (Delete(key),))
                yield warning("ssh-key-without-user", key, f"it is of {owner}, who has no account", "remove it", fix)


CHECKS: tuple[Check, ...] = (_holdings, _plugs, _rules, _ssh_keys)
