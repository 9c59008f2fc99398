"""Whatever a guest sends: nothing raises, and who is answered is told of itself alone."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ucloud_ipam import guests
from tests.unit.ucloud_ipam.guests import FACTS, MAC
from ucloud_ipam import dhcpv6
from ucloud_ipam.answer import answer

VALID = [
    guests.solicitation(options=b"\1\1" + MAC),
    guests.dhcpv6(1, guests.client(), guests.ia_na(1), guests.ia_pd(2), guests.option6(39, b"\0\1a\0")),
    guests.dhcpv6(3, guests.client(), guests.option6(2, guests.SERVER_DUID), guests.ia_na(1, guests.ADDRESS)),
    guests.dhcpv6(11, guests.option6(6, b"\0\x17")),
    guests.dhcpv4(1, (61, b"\1abcdef"), (55, b"\1\3")),
    guests.dhcpv4(3, (50, b"\x0a\0\0\7")),
]


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """A valid frame with some octets changed, put in or taken out."""
    frame = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(frame)))
        frame[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(frame)


@given(st.binary(max_size=600))
def test_noise_is_not_answered(frame: bytes) -> None:
    assert frame[6:12] == MAC or answer(frame, FACTS) is None


@given(_damaged())
def test_a_damaged_question_never_raises_and_its_answer_goes_to_the_guest_alone(frame: bytes) -> None:
    answered = answer(frame, FACTS)
    if answered is not None:
        assert frame[6:12] == MAC
        assert answered[:6] in (MAC, b"\xff" * 6)
        assert answered[6:12] == guests.ROUTER
        assert len(answered) < 1300


@given(st.binary(max_size=400))
def test_messages_of_dhcpv6_never_raise(message: bytes) -> None:
    dhcpv6.reply_to(message, FACTS)


@given(st.sampled_from(VALID), st.binary(min_size=6, max_size=6).filter(lambda mac: mac != MAC))
def test_who_is_another_is_not_answered(frame: bytes, mac: bytes) -> None:
    assert answer(frame[:6] + mac + frame[12:], FACTS) is None
