"""Settings of who users are: their one-time tokens, and LDAP."""

import re
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from common.schemas.otp import OtpName
from common.settings.section import Section, split

_ATTRIBUTE = r"^[A-Za-z][A-Za-z0-9-]*$"


class OtpSettings(Section):
    """One-time tokens: where ucloud_otp answers, and whom the API asks, as which caller.

    `url` may be that of any ungleich-otp, and `ca_file` says who signed its certificate (by default anybody whom the
    system trusts). The caller's seed is the content of `seed_file`.
    """

    address: str = "::1"
    """Where ucloud-otp listens."""
    port: Annotated[int, Field(ge=1, le=65535)] = 9705
    """Its TCP port."""
    threads: Annotated[int, Field(ge=1, le=1000)] = 16
    """Requests answered at a time."""
    cert_file: str = ""
    """The certificate of ucloud-otp, for TLS."""
    key_file: str = ""
    """The key of `cert_file`."""
    trusted_callers: Annotated[tuple[str, ...], BeforeValidator(split)] = ("ucloud-api",)
    """Callers of the realm ungleich-auth, separated by commas, that hold off those who guess by themselves, as the API
    does by name and network. What others say is wrong is counted by name: that holds everybody of that name off."""
    url: str = "http://[::1]:9705/ungleichotp/verify/"
    """Where the API has tokens verified: ucloud-otp, or any ungleich-otp."""
    ca_file: str = ""
    """Who signed the certificate of `url`; empty: anybody whom the system trusts."""
    name: str = "ucloud-api"
    """As whom the API asks."""
    realm: str = "ungleich-auth"
    """The realm of `name`."""
    seed_file: str = "/etc/ucloud/otp.seed"
    """The file whose content is the seed of `name`."""


class LdapSettings(Section):
    """Users whose accounts are in LDAP. TLS is always spoken, and the servers' certificates are always checked.

    Accounts that were made here go before those of LDAP that have the same name.
    """

    uris: Annotated[tuple[str, ...], BeforeValidator(split)] = ()
    """The servers, separated by commas, tried in this order: `ldaps://ldap1.example.com`, or `ldap://` (StartTLS).
    Empty: there is no LDAP."""
    ca_file: str = ""
    """Who signed the servers' certificates; empty: anybody whom the system trusts."""
    bind_dn: str = ""
    """As whom users are looked up; empty: as nobody, where the servers allow it."""
    bind_password_file: str = ""
    """The file whose content is the password of `bind_dn`."""
    user_base: str = ""
    """Below which entry users are looked for: `ou=people,dc=example,dc=com`."""
    user_filter: str = "(objectClass=inetOrgPerson)"
    """Who of them may use the cloud; who is not found by it any more is logged out. `{now}` stands for the time. To
    honour locked accounts: `(&(objectClass=inetOrgPerson)(!(pwdAccountLockedTime=*)))` (OpenLDAP with ppolicy),
    `(!(nsAccountLock=TRUE))` (389, FreeIPA), `(!(krbPrincipalExpiration<={now}))` (FreeIPA). An entry whose
    `shadowExpire` is over is none, whatever the filter says."""
    name_attribute: Annotated[str, StringConstraints(pattern=_ATTRIBUTE)] = "uid"
    """The attribute that is the user's name."""
    ssh_key_attribute: Annotated[str, StringConstraints(pattern=_ATTRIBUTE)] = "sshPublicKey"
    """The attribute with public ssh keys."""
    group_base: str = ""
    """Below which entry groups are looked for; empty: they are the `memberOf` of the user's entry."""
    group_filter: str = "(|(member={dn})(uniqueMember={dn})(memberUid={name}))"
    """Which of them a user is in; `{dn}` and `{name}` stand for the user's."""
    admin_group: str = ""
    """The DN of the group whose members are admins; empty: admins are made here (`ucloud user set --admin`)."""
    project_groups: str = ""
    """The DN of groups whose members are in projects, with `{project}` and `{role}` (owner, member or reader) where
    theirs differ: `cn=cloud-{project}-{role},ou=groups,dc=example,dc=com`. Without `{role}` they are members. Empty: a
    project's own record alone says who is in it."""
    login: Literal["password", "token", "password+token"] = "password"
    """What users of LDAP prove themselves by: their password there, a one-time token, or both. Where it is not the
    password alone, uploads take ssh keys only."""
    realm: OtpName = "ucloud"
    """The realm of their one-time tokens."""
    timeout_s: Annotated[int, Field(ge=1, le=30)] = 3
    """How long a server may take for each step of an answer."""
    refresh_s: Annotated[int, Field(ge=1, le=24 * 3600)] = 60
    """For how many seconds an answer is not asked for again: so long a removed user or admin may go on."""
    outage_s: Annotated[int, Field(ge=0, le=30 * 24 * 3600)] = 8 * 3600
    """For how many seconds the last answer counts while no server answers. Passwords are never kept."""

    @field_validator("uris")
    @classmethod
    def _are_servers(cls, uris: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(r"ldaps?://[^/?#\s]+/?", uri) for uri in uris):
            raise ValueError("ldaps://HOST[:PORT] or ldap://HOST[:PORT] (StartTLS) is required, nothing behind it")
        return uris

    @field_validator("user_filter", "group_filter")
    @classmethod
    def _is_a_filter(cls, text: str) -> str:
        if not (text.startswith("(") and text.endswith(")") and text.count("(") == text.count(")")):
            raise ValueError("a filter of LDAP (RFC 4515) in parentheses is required")
        return text

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.uris and not self.user_base:
            raise ValueError("user_base is required where there are uris")
        if bool(self.bind_dn) != bool(self.bind_password_file):
            raise ValueError("bind_dn and bind_password_file are set both, or neither")
        return self

    @property
    def proofs(self) -> frozenset[str]:
        """What `login` asks for, each by its name."""
        return frozenset(self.login.split("+"))
