"""What the kernel's reports are read as."""

import struct

import pytest

from ucloud_net.news import attribute, messages


def _message(kind: int, body: bytes) -> bytes:
    length = 16 + len(body)
    return struct.pack("=IHHII", length, kind, 0, 0, 0) + body + bytes(-length % 4)


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(-length % 4)


def test_messages_come_several_at_a_time() -> None:
    data = _message(16, b"abcde") + _message(17, b"xyz")
    assert list(messages(data)) == [(16, b"abcde"), (17, b"xyz")]


@pytest.mark.parametrize("data", [b"", b"\x00", bytes(16), bytes(64), _message(16, b"abc")[:10]])
def test_what_is_no_message_is_none(data: bytes) -> None:
    assert list(messages(data)) == []


def test_an_attribute_is_found_behind_others_and_its_flags_do_not_count() -> None:
    body = bytes(16) + _attribute(1, b"abc") + _attribute(3 | 0x8000, b"eth0\0") + _attribute(3, b"later")
    assert attribute(body, 16, 3) == b"eth0\0"
    assert attribute(body, 16, 4) == b""


@pytest.mark.parametrize("body", [b"", bytes(16), bytes(20), bytes(18), bytes(16) + b"\x08\x00\x03"])
def test_attributes_that_are_cut_off_are_none(body: bytes) -> None:
    assert attribute(body, 16, 3) == b""
