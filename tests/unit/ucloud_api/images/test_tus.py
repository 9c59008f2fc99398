"""Headers of uploads: what is taken, and what is wrong with the rest."""

import base64
import hashlib

import pytest

from common.errors import InvalidValue
from ucloud_api.images import tus

DIGEST = hashlib.sha256(b"x")
ENCODED = base64.b64encode(DIGEST.digest()).decode()


def test_metadata_name_a_file_and_an_owner() -> None:
    assert tus.parse_metadata("filename ZGViaWFuLnFjb3cy,owner YWxpY2U=") == tus.Metadata("debian.qcow2", "alice")
    assert tus.parse_metadata("owner YWxpY2U=, filename eA==, is_confidential") == tus.Metadata("x", "alice")
    assert tus.parse_metadata("filename eA==") == tus.Metadata("x", None)


@pytest.mark.parametrize("text", [None, "", "filename", "filename !", "owner YWxpY2U=", "filename /w=="])
def test_metadata_without_a_name_are_refused(text: str | None) -> None:
    with pytest.raises(InvalidValue):
        tus.parse_metadata(text)


def test_a_digest_is_found_among_others_and_written_as_it_is_read() -> None:
    assert tus.parse_digest(f"md5=:abc:, sha-256=:{ENCODED}:") == DIGEST.hexdigest()
    assert tus.parse_digest(tus.digest_header(DIGEST.hexdigest())) == DIGEST.hexdigest()
    assert tus.parse_digest(None) is None
    assert tus.parse_digest("sha-512=:abc:") is None


@pytest.mark.parametrize("text", ["sha-256=", f"sha-256={ENCODED}", "sha-256=:!:", "sha-256=:YQ==:"])
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        tus.parse_digest(text)


def test_numbers_are_plain() -> None:
    assert tus.parse_number("17", 1) == 17
    for text in (None, "", "0", "-1", "1.5", "0x10", "9" * 17, "٣"):
        with pytest.raises(InvalidValue):
            tus.parse_number(text, 1)
