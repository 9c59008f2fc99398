"""Checks of the books: names, charges, uses of images, leases, records that can't be read. Pure."""

from collections.abc import Iterator

from common import admission, keys
from common.admission import Charged, Step
from common.schemas.record import Record
from common.schemas.user import Amounts, Charge
from common.store import Delete, Put, absent
from ucloud_api.doctor.finding import Check, Finding, error, warning
from ucloud_api.doctor.snapshot import Snapshot

_BY_HAND = "look at what wrote it, and mend or delete it by hand (etcdctl)"


def _malformed(snapshot: Snapshot) -> Iterator[Finding]:
    for key, problem in snapshot.malformed.items():
        yield error("malformed-record", key, f"it can't be read: {problem}", _BY_HAND)


def _leases(snapshot: Snapshot) -> Iterator[Finding]:
    for key in snapshot.leaseless:
        yield error("no-lease", key, "it is bound to no lease, so it stays for ever", "delete it by hand (etcdctl)")


def _things(snapshot: Snapshot) -> Iterator[tuple[str, str, str, str]]:
    """Kind, uuid, owner and name of all that has a name."""
    for uuid, vm in snapshot.vms.items():
        yield "vm", uuid, vm.record.owner, vm.record.name
    for uuid, image in snapshot.images.items():
        yield "image", uuid, image.record.owner, image.record.name
    for uuid, network in snapshot.networks.items():
        yield "network", uuid, network.record.owner, network.record.name
    for uuid, group in snapshot.groups.items():
        yield "security-group", uuid, group.record.owner, group.record.name


_KEYS = {"vm": keys.vm, "image": keys.image, "network": keys.network, "security-group": keys.security_group}


def _names(snapshot: Snapshot) -> Iterator[Finding]:
    names_of = {(kind, uuid): (owner, name) for kind, uuid, owner, name in _things(snapshot)}
    for (owner, kind, name), uuid in snapshot.names.items():
        if kind not in _KEYS:
            continue
        key, thing_key = keys.name(owner, kind, name), _KEYS[kind](uuid)
        fix = Step((snapshot.same(key), snapshot.same(thing_key)), (Delete(key),))
        if not snapshot.has(thing_key):
            sentence = f'{owner} holds the name "{name}" for {kind} {uuid}, which is gone'
            yield warning("name-without-thing", key, sentence, "give it back", fix)
        elif names_of.get((kind, uuid), (owner, name)) != (owner, name):
            now = "/".join(names_of[kind, uuid])
            sentence = f'{owner} holds the name "{name}" for {kind} {uuid}, which is called {now}'
            yield warning("name-of-another", key, sentence, "give it back", fix)
    for kind, uuid, owner, name in _things(snapshot):
        key = keys.name(owner, kind, name)
        holder = snapshot.names.get((owner, kind, name))
        if holder is None:
            fix = Step((snapshot.same(_KEYS[kind](uuid)), absent(key)), (Put(key, uuid.encode()),))
            sentence = f'{kind} {uuid} of {owner} is called "{name}", and does not hold that name'
            yield warning("thing-without-name", _KEYS[kind](uuid), sentence, "take it", fix)
        elif holder != uuid and snapshot.has(_KEYS[kind](holder)) and names_of.get((kind, holder)) == (owner, name):
            sentence = f'{kind}s {uuid} and {holder} of {owner} are both called "{name}"'
            yield error("two-of-one-name", _KEYS[kind](uuid), sentence, "rename one of them")


def _charged(snapshot: Snapshot) -> Iterator[tuple[str, Charged]]:
    """All that is charged to its owner, each with its kind."""
    for kind, records in (("vm", snapshot.vms), ("network", snapshot.networks), ("security-group", snapshot.groups)):
        for found in records.values():
            yield kind, found.record


def _charges(snapshot: Snapshot) -> Iterator[Finding]:
    things = {thing.uuid: (kind, thing) for kind, thing in _charged(snapshot)}
    for (owner, uuid), found in snapshot.charges.items():
        key, there = keys.charge(owner, uuid), [_KEYS[kind](uuid) for kind in ("vm", "network", "security-group")]
        kind, thing = things.get(uuid, ("thing", None))
        is_gone = not any(map(snapshot.has, there))
        if is_gone or (thing and thing.owner != owner):
            fix = Step((snapshot.same(key), *map(snapshot.same, there)), (Delete(key),))
            sentence = f"{owner} is charged for {kind} {uuid}, which {'is gone' if is_gone else 'is not theirs'}"
            yield warning("charge-without-thing", key, sentence, "give it back", fix)
        elif thing and found.record.amounts != admission.amounts_of(thing):
            fix = _charge_anew(snapshot, kind, thing)
            sentence = f"{owner} is charged another amount for {kind} {uuid} than it takes"
            yield warning("charge-differs", key, sentence, "charge what it takes", fix)
    for kind, thing in things.values():
        key = _KEYS[kind](thing.uuid)
        if not snapshot.has(keys.charge(thing.owner, thing.uuid)):
            sentence = f"{thing.owner} is not charged for {kind} {thing.uuid}"
            yield warning("thing-without-charge", key, sentence, "charge it", _charge_anew(snapshot, kind, thing))
        if not snapshot.has(keys.account(thing.owner)):
            sentence = f"{kind} {thing.uuid} is of {thing.owner}, who has no account"
            advice = f"ucloud user create {thing.owner}, or delete the {kind}"
            yield warning("thing-without-owner", key, sentence, advice)


def _charge_anew(snapshot: Snapshot, kind: str, thing: Charged) -> Step:
    key = keys.charge(thing.owner, thing.uuid)
    charge: Record = Charge(amounts=admission.amounts_of(thing))
    return Step((snapshot.same(_KEYS[kind](thing.uuid)), snapshot.same(key)), (Put(key, charge.to_json()),))


def _quotas(snapshot: Snapshot) -> Iterator[Finding]:
    used: dict[str, Amounts] = {}
    for (owner, _), found in snapshot.charges.items():
        used[owner] = used.get(owner, Amounts()) + found.record.amounts
    for name, account in snapshot.accounts.items():
        quota, sums = account.record.quota, used.get(name, Amounts())
        if quota is None:
            continue
        over = [field for field in Amounts.model_fields if getattr(sums, field) > getattr(quota, field)]
        if over:
            figures = ", ".join(f"{field}: {getattr(sums, field)} of {getattr(quota, field)}" for field in over)
            advice = "raise the quota, or have its owner make room"
            yield warning("over-quota", keys.account(name), f"{name} uses more than its quota: {figures}", advice)


def _uses(snapshot: Snapshot) -> Iterator[Finding]:
    for image, vm in sorted(snapshot.image_uses):
        key, request = keys.image_use(image, vm), snapshot.vms.get(vm)
        if not snapshot.has(keys.vm(vm)) or (request and request.record.image != image):
            fix = Step((snapshot.same(key), snapshot.same(keys.vm(vm))), (Delete(key),))
            sentence = f"image {image} is noted to be in use by VM {vm}, which does not use it"
            yield warning("use-without-vm", key, sentence, "remove the note", fix)
    for vm, found in snapshot.vms.items():
        key = keys.image_use(found.record.image, vm)
        if not snapshot.has(key):
            fix = Step((snapshot.same(keys.vm(vm)), absent(key)), (Put(key, b""),))
            sentence = f"VM {vm} rests on image {found.record.image}, which does not know of it"
            yield warning("vm-without-use", keys.vm(vm), sentence, "note it", fix)
        if not snapshot.has(keys.image(found.record.image)):
            sentence = f"VM {vm} rests on image {found.record.image}, which is gone from the books"
            yield error("vm-without-image", keys.vm(vm), sentence, "restore /v1/image from a backup; keep the template")


def _image_statuses(snapshot: Snapshot) -> Iterator[Finding]:
    for image in snapshot.image_statuses:
        if not snapshot.has(keys.image(image)):
            key = keys.image_status(image)
            fix = Step((snapshot.same(key), absent(keys.image(image))), (Delete(key),))
            yield warning("status-without-image", key, f"image {image} has a status, and is gone", "remove it", fix)


CHECKS: tuple[Check, ...] = (_malformed, _leases, _names, _charges, _quotas, _uses, _image_statuses)
