"""Checks of hosts, of what they hold, of the daemons that are elected, and of etcd. Pure."""

import re
from collections.abc import Iterator

from common import keys
from common.schemas.image import DEFAULT_STORE, ImageActual, elected_as
from common.schemas.verdict import Sentence
from ucloud_api.doctor.finding import Check, Finding, error, warning
from ucloud_api.doctor.snapshot import Snapshot

MAX_SKEW_S = 5.0
_GIB = 1024**3
_MAX_DB_BYTES = 6 * _GIB
_SAFE_ETCD: dict[tuple[int, ...], tuple[int, ...]] = {(3, 5): (3, 5, 30), (3, 6): (3, 6, 11)}
"""The first releases without known faults in leases, watches and roles."""
_ELECTED = {"scheduler": "VMs get no host", "image": "no image is imported", "host": "no silent host is judged"}


def _lives(snapshot: Snapshot) -> Iterator[Finding]:
    placed = {host for host, _ in snapshot.placements}
    for host in sorted(snapshot.host_statuses):
        is_judged = snapshot.has(keys.verdict(host))
        if not snapshot.is_alive(host) and not is_judged and host in placed:
            sentence = f"{host} is silent, has VMs, and nobody judges it"
            yield error("silent-unjudged", keys.host(host), sentence, "start ucloud-host on the other hosts")
    for host, found in snapshot.verdicts.items():
        key, verdict = keys.verdict(host), found.record
        if snapshot.is_alive(host):
            sentence = f"{host} is alive, and the verdict on it is still {verdict.sentence}"
            yield error("verdict-of-living-host", key, sentence, f"start ucloud-host on {host} again")
        elif verdict.sentence is Sentence.DEAD:
            sentence = f"{host} is dead since {verdict.since:%F %T}, fenced by {verdict.fenced_by}"
            yield warning("host-dead", key, sentence, "repair it, or take it out of the cloud")
        else:
            sentence = f"{host} is silent since {verdict.since:%F %T}, waits for: {verdict.waits_for}"
            yield error("host-silent", key, sentence, f"look at {host}; if it is off: ucloud host confirm-dead {host}")


def _registrations(snapshot: Snapshot) -> Iterator[Finding]:
    for key in snapshot.revisions:
        if not key.startswith(keys.ALIVE):
            continue
        host = keys.last_part(key)
        if not snapshot.has(keys.host_status(host)):
            sentence = f"{host} is alive and did not register, so it gets no VM"
            yield error("host-not-registered", keys.host(host), sentence, f"start ucloud-host on {host}")
        elif not snapshot.has(keys.inventory(host)):
            sentence = f"ucloud-vm on {host} never said what there is on it"
            yield warning("host-without-inventory", keys.host(host), sentence, f"start ucloud-vm on {host}")
    for host in snapshot.hosts:
        if not snapshot.is_known(host):
            sentence = f"there is a word on {host}, which never registered"
            yield warning(
                "word-without-host", keys.host(host), sentence, "start ucloud-host there, if there is such a host"
            )


def _answers(snapshot: Snapshot) -> Iterator[Finding]:
    for host, answer in snapshot.answers.items():
        if answer.problem:
            sentence = f"ucloud-vm on {host} does not tell what is there: {answer.problem}"
            yield warning(
                "host-unreachable", keys.host(host), sentence, f"look at ucloud-vm on {host}, and at firewalls"
            )
        elif abs(answer.skew_s) > MAX_SKEW_S:
            which = "ahead" if answer.skew_s > 0 else "behind"
            sentence = f"the clock of {host} is at least {abs(answer.skew_s):.0f} s {which} of this one's"
            yield warning("clock-skew", keys.host(host), sentence, f"have {host}'s clock set by NTP")


def _templates(snapshot: Snapshot) -> Iterator[Finding]:
    stores = {found.record.ssd.store_id for found in snapshot.host_statuses.values() if found.record.ssd}
    seen: set[str] = set()
    for host, answer in snapshot.answers.items():
        status = snapshot.host_statuses.get(host)
        templates = answer.inventory.templates if answer.inventory else None
        if templates is not None and status and status.record.ssd:
            seen |= templates
            stores.discard(status.record.ssd.store_id)
    if stores or not snapshot.answers:
        return  # it may be in a store that nobody could look into
    for image, found in snapshot.image_statuses.items():
        if found.record.actual is ImageActual.READY and image in snapshot.images and image not in seen:
            sentence = f"image {image} is said to be READY, and no store has it"
            yield error("image-without-template", keys.image(image), sentence, "restore the store, or import it anew")


def _versions(snapshot: Snapshot) -> Iterator[Finding]:
    for host, found in snapshot.host_statuses.items():
        version = found.record.versions.get("ucloud", "")
        if snapshot.is_alive(host) and version and version != snapshot.api_version:
            sentence = f"{host} has ucloud {version}, this API {snapshot.api_version}"
            yield warning("other-version", keys.host(host), sentence, "upgrade the older one")


def _leaders(snapshot: Snapshot) -> Iterator[Finding]:
    stores = {found.record.image_store for found in snapshot.host_statuses.values()} - {DEFAULT_STORE}
    others = {elected_as(store): f"no image is imported into the store {store}" for store in sorted(stores)}
    for daemon, consequence in (_ELECTED | others).items():
        if not snapshot.has(keys.leader(daemon)):
            program = f"ucloud-{daemon.partition('/')[0]}"
            sentence = f"no {program} is elected: {consequence}"
            yield error("nobody-elected", keys.leader(daemon), sentence, f"start {program}")


def _etcd(snapshot: Snapshot) -> Iterator[Finding]:
    for member in snapshot.members:
        name = member.endpoint
        if member.problem:
            yield error("etcd-away", name, f"this member of etcd does not answer: {member.problem}", "repair it")
            continue
        numbers = tuple(int(number) for number in re.findall(r"\d+", member.version)[:3])
        safe = _SAFE_ETCD.get(numbers[:2], (3, 5, 30))
        if numbers < safe:
            sentence = f"etcd {member.version} has known faults"
            yield warning("etcd-version", name, sentence, f"upgrade it to {'.'.join(map(str, safe))} or later")
        if not member.has_leader:
            yield error(
                "etcd-leaderless", name, "this member of etcd knows no leader", "see that a majority of them runs"
            )
        if member.db_bytes > _MAX_DB_BYTES:
            sentence = f"its data base has {member.db_bytes / _GIB:.1f} GiB"
            yield warning("etcd-large", name, sentence, "etcdctl defrag; look what fills it")
        for alarm in member.alarms:
            advice = "make room (compaction, defrag), then etcdctl alarm disarm"
            yield error("etcd-alarm", name, f"etcd has raised the alarm {alarm}", advice)


CHECKS: tuple[Check, ...] = (_lives, _registrations, _answers, _templates, _versions, _leaders, _etcd)
