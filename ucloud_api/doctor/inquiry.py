"""Asks the hosts what there is on them, all at the same time.

The clock of a host is taken from the `Date` of its answer (RFC 9110, 6.6.1), which is of whole seconds: it is surely
wrong by what that is before the question was sent, or after the answer came.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests
from pydantic import ValidationError

from common.schemas.inventory import Inventory, InventoryDoor
from ucloud_api.doctor.snapshot import Answer, Snapshot

_AT_ONCE = 16
_TIMEOUT_S = (2.0, 10.0)
_RESOLUTION_S = 1.0


def ask_hosts(snapshot: Snapshot) -> dict[str, Answer]:
    """The answers of the hosts that are alive and said where to ask. Of each store, one tells whose disks it has."""
    doors = {host: found.record for host, found in snapshot.doors.items() if snapshot.is_alive(host)}
    tellers = _one_per_store(snapshot, doors)
    with ThreadPoolExecutor(_AT_ONCE, "inquiry") as pool:
        answers = pool.map(lambda host: _ask(doors[host], host in tellers), doors)
        return dict(zip(doors, answers, strict=True))


def _one_per_store(snapshot: Snapshot, doors: Mapping[str, InventoryDoor]) -> frozenset[str]:
    tellers: dict[tuple[str, ...], str] = {}
    for host in doors:
        status = snapshot.host_statuses.get(host)
        parts = (status.record.ssd, status.record.hdd) if status else ()
        tellers[tuple(part.store_id for part in parts if part) or (host,)] = host
    return frozenset(tellers.values())


def _ask(door: InventoryDoor, with_disks: bool) -> Answer:
    asked_at = datetime.now(UTC)
    try:
        with requests.Session() as session:
            session.trust_env = False  # a host is asked directly: no proxy, and no .netrc in place of the token
            reply = session.get(
                door.url,
                params={"disks": int(with_disks)},
                headers={"Authorization": f"Bearer {door.token}"},
                timeout=_TIMEOUT_S,
                allow_redirects=False,
            )
    except requests.RequestException as error:
        return Answer(problem=type(error).__name__)  # its text may hold the URL
    skew_s = _skew_s(reply.headers.get("Date", ""), asked_at, datetime.now(UTC))
    if not reply.ok:
        return Answer(skew_s=skew_s, problem=f"it answers {reply.status_code}")
    try:
        return Answer(Inventory.model_validate_json(reply.content), skew_s)
    except ValidationError:
        return Answer(skew_s=skew_s, problem="its answer can't be read")


def _skew_s(date: str, asked_at: datetime, answered_at: datetime) -> float:
    """How far the host's clock is surely off; 0 where it may be right."""
    try:
        said = parsedate_to_datetime(date).astimezone(UTC)
    except ValueError:
        return 0.0
    behind_s = (asked_at - said).total_seconds() - _RESOLUTION_S
    return max(0.0, (said - answered_at).total_seconds()) or -max(0.0, behind_s)
