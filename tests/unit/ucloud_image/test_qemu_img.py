"""What is made of the end of qemu-img: the file's fault, which is told its owner, or ours, which is tried again."""

import signal

import pytest

from common.errors import PermanentError, TemporaryError
from common.sandbox import Answer
from ucloud_image.qcow2_tables import Contents
from ucloud_image.qemu_img import check_answer, limits_of, size_of_copy

GIB = 1024**3
SLOW = "it takes too long to read (more than 152 s of a processor)"
LIMITS = limits_of(Contents(10 * GIB, GIB))


def test_a_good_end_is_good() -> None:
    check_answer(Answer(0, "qemu-img: warning: something"), LIMITS)


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        (Answer(1, "qemu-img: error while reading at byte 0: Input/output error\n"), PermanentError,
         "it can't be read to its end: error while reading at byte 0: Input/output error"),
        (Answer(1, ""), PermanentError, "it can't be read to its end: no reason given"),
        (Answer(1, "x" * 8000), PermanentError, "it can't be read to its end: " + "x" * 160),
        (Answer(128 + signal.SIGXCPU, ""), PermanentError, SLOW),
        (Answer(128 + signal.SIGKILL, ""), PermanentError, SLOW),
        (Answer(128 + signal.SIGABRT, ""), PermanentError, "it takes too much memory to read (more than 2048 MiB)"),
        (Answer(1, "qemu-img: Could not open '/source': Cannot allocate memory"), PermanentError,
         "it takes too much memory to read (more than 2048 MiB)"),
        (Answer(1, "qemu-img: error while writing at byte 0: No space left on device"), TemporaryError,
         "the store is full"),
        (Answer(1, "    (0.00/100%)\rqemu-img: error while writing at byte 0: Input/output error"), TemporaryError,
         "the store does not take it: error while writing at byte 0: Input/output error"),
        (Answer(1, "qemu-img: Failed to connect to '/target': Connection reset by peer"), TemporaryError,
         "the store does not take it: Failed to connect to '/target': Connection reset by peer"),
        (Answer(0, "", was_too_slow=True), TemporaryError,
         "its conversion was not done after 1156 s: is the store slow?"),
    ],
)  # fmt: skip
def test_every_other_end_has_its_reason(answer: Answer, error: type[Exception], reason: str) -> None:
    with pytest.raises(error) as raised:
        check_answer(answer, LIMITS)
    assert str(raised.value) == reason


def test_limits_grow_with_the_data_alone() -> None:
    empty = Contents(2048 * GIB, 0)
    assert size_of_copy(empty) < GIB
    assert limits_of(empty).cpu_s == 120
    full = Contents(2048 * GIB, 2048 * GIB)
    assert limits_of(full).file_bytes >= full.data_bytes
    assert limits_of(full).cpu_s > 65536
