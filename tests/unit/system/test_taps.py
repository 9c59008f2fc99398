"""How silences are read from the moments of packets."""

from tests.system.taps import longest_gap_s, silence_ends_s


def test_the_longest_gap() -> None:
    assert longest_gap_s([1.0, 1.5, 4.0, 4.5]) == 2.5
    assert longest_gap_s([1.0]) == 0


def test_a_silence_ends_with_the_first_packet_after_it() -> None:
    assert silence_ends_s([9.5, 10.0, 12.0, 12.5], 10.25, 1.0) == 1.75


def test_the_last_of_several_silences_counts() -> None:
    assert silence_ends_s([10.0, 12.0, 12.5, 14.0], 10.0, 1.0) == 4.0


def test_a_silence_before_is_none_of_it_and_short_ones_are_not_either() -> None:
    assert silence_ends_s([1.0, 9.0, 10.5, 11.0], 10.0, 2.0) == 0
