"""A user of the cloud: the account with its quota, what is charged to it, and sessions.

Who a user is, is ucloud_otp's to say (or any ungleich-otp's): an account only says what a name of a realm may do here.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from common.schemas.otp import OtpName
from common.schemas.owner import ProjectName, UserName
from common.schemas.record import Part, Record
from common.schemas.role import MemberRole
from common.schemas.vm import Specs

_Count = Annotated[int, Field(ge=0, le=2**50)]


class Amounts(Part):
    """Amounts of what a quota limits."""

    vms: _Count = 0
    cpu: _Count = 0
    ram_mib: _Count = 0
    ssd_mib: _Count = 0
    hdd_mib: _Count = 0
    networks: _Count = 0
    security_groups: _Count = 0

    @classmethod
    def of(cls, specs: Specs) -> "Amounts":
        """What one VM takes."""
        return cls(vms=1, cpu=specs.cpu, ram_mib=specs.ram_mib, ssd_mib=specs.ssd_mib, hdd_mib=specs.hdd_mib)

    def __add__(self, other: "Amounts") -> "Amounts":
        """The sum, field by field."""
        return Amounts(**{field: getattr(self, field) + getattr(other, field) for field in Amounts.model_fields})


class Quota(Amounts):
    """The most that may be charged to an account; one of before a resource was limited has that limit by default."""

    networks: _Count = 10
    security_groups: _Count = 50


class Source(StrEnum):
    """Who says that a user is there."""

    EMBEDDED = "embedded"
    """An admin made the account; the user proves itself by one-time tokens."""
    LDAP = "ldap"
    """The directory, at each login and while a session lasts."""


class Account(Record):
    """What a user may do here; `/v1/account/<name>`, written by ucloud_api."""

    name: UserName
    realm: OtpName
    source: Source = Source.EMBEDDED
    is_admin: bool = False
    """Sees and changes what others own, the hosts and the accounts."""
    memberships: dict[ProjectName, MemberRole] = Field(default={})
    """The projects, by their names, that groups of the directory put the user into; there may be no such project."""
    enabled: bool = True
    quota: Quota | None = None
    """The most that may be charged to it; None: there is no limit."""
    generation: int = 1
    created_at: datetime

    @property
    def owner(self) -> str:
        """The owner that its things have."""
        return self.name


class Charge(Record):
    """What a VM, a network or a security group takes of its owner's quota; `/v1/charge/<owner>/<uuid>`.

    Written and removed with the request for it.
    """

    amounts: Amounts


class Session(Record):
    """Somebody who proved who they are; `/v1/session/<SHA-256 of the token>`, gone with its lease.

    The token itself is nowhere but with its bearer.
    """

    user: UserName
    created_at: datetime
    expires_at: datetime
    address: str = ""
    """Where the login came from."""
    proofs: tuple[str, ...] = ()
    """What it was proved by: password, token."""
