"""What the kernel's reports are read as."""

import struct

import pytest

from common import netlink
from common.link_news import Link, link_of


def _message(kind: int, body: bytes) -> bytes:
    length = 16 + len(body)
    return struct.pack("=IHHII", length, kind, 0, 0, 7) + body + bytes(-length % 4)


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(-length % 4)


def _link(kind: int, family: int = 0, name: bytes = b"tap1\0") -> netlink.Message:
    header = struct.pack("=BxHiII", family, 1, 12, 0x41, 0)
    master = _attribute(10, struct.pack("=I", 9))
    return netlink.Message(kind, 0, header + _attribute(3, name) + _attribute(4, struct.pack("=I", 1430)) + master)


def test_messages_come_several_at_a_time() -> None:
    data = _message(16, b"abcde") + _message(17, b"xyz")
    assert list(netlink.messages(data)) == [netlink.Message(16, 7, b"abcde"), netlink.Message(17, 7, b"xyz")]


@pytest.mark.parametrize("data", [b"", b"\x00", bytes(16), bytes(64), _message(16, b"abc")[:10]])
def test_what_is_no_message_is_none(data: bytes) -> None:
    assert list(netlink.messages(data)) == []


def test_a_message_that_is_cut_off_is_left_out() -> None:
    assert [each.kind for each in netlink.messages(_message(16, b"abcd") + _message(17, b"abcd")[:-2])] == [16]


def test_the_flags_of_an_attribute_are_no_part_of_its_type() -> None:
    body = bytes(16) + _attribute(1, b"abc") + _attribute(3 | 0x8000, b"eth0\0")
    assert list(netlink.attributes(body, 16)) == [(1, b"abc"), (3, b"eth0\0")]


@pytest.mark.parametrize("body", [b"", bytes(16), bytes(20), bytes(18), bytes(16) + b"\x08\x00\x03"])
def test_attributes_that_are_cut_off_are_none(body: bytes) -> None:
    assert list(netlink.attributes(body, 16)) == []


def test_a_number_has_four_octets() -> None:
    assert netlink.number(struct.pack("=I", 70000)) == 70000
    assert netlink.number(b"\x01") == 0


def test_a_link_is_told_of() -> None:
    told = Link(index=12, name="tap1", mtu=1430, master=9, flags=0x41, is_gone=False, by_bridge=False)
    assert link_of(_link(16)) == told


def test_a_port_that_leaves_its_bridge_is_no_link_that_goes() -> None:
    gone, left = link_of(_link(17)), link_of(_link(17, family=7))
    assert gone
    assert left
    assert (gone.is_gone, gone.by_bridge) == (True, False)
    assert (left.is_gone, left.by_bridge) == (False, True)


@pytest.mark.parametrize("message", [_link(20), netlink.Message(16, 0, b"short")])
def test_what_is_about_no_link_is_none(message: netlink.Message) -> None:
    assert link_of(message) is None
