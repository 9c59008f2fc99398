"""What is recorded of a file: a table over what is there and what was recorded before."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from common.schemas.file import UploadedFile
from ucloud_image.file_plan import Seen, TakeDigest, plan

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SEEN = Seen("alice", "d.qcow2", 1000, 1e9, "1.2")
READ = replace(SEEN, sha256="ab")
RECORD = UploadedFile(
    owner="alice",
    name="d.qcow2",
    size_bytes=1000,
    sha256="ab",
    modified_at=datetime.fromtimestamp(1e9, UTC),
    stamp="1.2",
)
OLD = RECORD.model_copy(update={"sha256": "cd", "stamp": "1.1"})


@pytest.mark.parametrize(
    ("observed", "previous", "status", "actions"),
    [
        (None, None, None, ()),
        (None, RECORD, None, ()),
        (SEEN, None, None, (TakeDigest("1.2"),)),
        (SEEN, OLD, None, (TakeDigest("1.2"),)),
        (READ, None, RECORD, ()),
        (READ, OLD, RECORD, ()),
        (SEEN, RECORD, RECORD, ()),
    ],
    ids=["nothing", "gone", "new", "another content", "read", "read anew", "known"],
)
def test_a_file(
    observed: Seen | None, previous: UploadedFile | None, status: UploadedFile | None, actions: tuple[TakeDigest, ...]
) -> None:
    decision = plan(None, observed, previous, None, NOW)
    assert (decision.status, decision.actions) == (status, actions)
