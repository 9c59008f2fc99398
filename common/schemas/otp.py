"""Who can prove to be whom with one-time tokens."""

import base64
import binascii
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from common.errors import InvalidValue
from common.schemas.record import Record

_FORM = r"^[A-Za-z0-9_]([A-Za-z0-9@._-]{0,126}[A-Za-z0-9_])?$"
OtpName = Annotated[str, StringConstraints(pattern=_FORM, max_length=128)]
"""A name or a realm of ungleich-otp. No slash: both are parts of a key."""


def _check_seed(seed: str) -> str:
    try:
        base64.b32decode(seed + "=" * (-len(seed) % 8), casefold=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidValue("a seed is base32") from error
    return seed


class OtpEntry(Record):
    """The seed of one name of a realm; `/v1/otp/<realm>/<name>`, written by ucloud_otp alone, and read by it alone.

    A seed can't be a digest, as tokens are computed from it: etcd's roles keep `/v1/otp/` from everybody else.
    """

    name: OtpName
    realm: OtpName
    seed: Annotated[str, Field(repr=False, min_length=16), AfterValidator(_check_seed)]
    """Base32, RFC 4648; 16 characters are what ungleich-otp gave out."""
    last_counter: int = 0
    """The time step (RFC 6238) of the last token that was accepted: neither it nor an older one is accepted again."""
    accepted_id: str = ""
    """Of that acceptance, random: no two of them write the same, so none takes another's write for its own."""


class OtpTries(Record):
    """Wrong tokens in a row for one name of a realm, whether or not it exists; `/v1/otp-tries/<realm>/<name>`."""

    wrong: int
    blocked_until: datetime
    """No token is looked at before this time."""
