"""Sizes as users write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.schemas.size import format_size, human_size, parse_size_mib


@pytest.mark.parametrize(
    ("written", "mib"), [(1, 1024), ("512MiB", 512), ("10GiB", 10240), ("10 GiB", 10240), ("2TiB", 2 * 1024 * 1024)]
)
def test_sizes_are_read(written: object, mib: int) -> None:
    assert parse_size_mib(written) == mib


@pytest.mark.parametrize("written", [True, 1.5, "10", "10GB", "GiB", "-1GiB", "", None, "1e3GiB", "٣GiB", "9" * 5000])
def test_what_is_no_size_is_refused_with_what_is_allowed(written: object) -> None:
    with pytest.raises(ValueError, match="an integer in GiB, or a string with a unit"):
        parse_size_mib(written)


@given(st.integers(min_value=0, max_value=2**40))
def test_a_size_survives_being_written_and_read(size_mib: int) -> None:
    if size_mib % 1024 == 0 or size_mib < 10**9:
        assert parse_size_mib(format_size(size_mib)) == size_mib


def test_sizes_in_sentences() -> None:
    assert human_size(65536) == "64 GiB"
    assert human_size(1536) == "1536 MiB"
