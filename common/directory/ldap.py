"""Users in LDAP, over TLS with the server's certificate checked. Sources: RFC 4511 to 4515, 4519; RFC 2307 (shadow).

A user's DN is looked up, never made up. What somebody typed is escaped in filters and in nothing else. Referrals are
not followed: whoever can write one could otherwise name the server that passwords are sent to.
It must never send a password over a connection without TLS, nor log one.
"""

import logging
import re
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import ldap3
from ldap3.core.exceptions import LDAPException, LDAPInvalidDnError, LDAPInvalidFilterError
from ldap3.operation.search import parse_filter
from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import parse_dn

from common.directory.embedded import is_name
from common.directory.names import parts
from common.errors import ConfigurationError, InvalidValue, Unavailable
from common.schemas.directory import Group, Person
from common.schemas.ssh_key import MOST_SSH_KEYS, parse_ssh_key
from common.settings import read_secret
from common.settings.identity import LdapSettings

T = TypeVar("T")
_log = logging.getLogger(__name__)
_SUCCESS, _SIZE_LIMIT = 0, 4
_NO_PASSWORD = frozenset((19, 32, 48, 49, 50, 53))
"""Results of a bind that is refused for what the user is or typed (RFC 4511, appendix A): constraintViolation,
noSuchObject, inappropriateAuthentication, invalidCredentials, insufficientAccessRights, unwillingToPerform."""
_MOST_PASSWORD_CHARACTERS = 1024
_AWAY_S = 10.0
"""So long a server that did not answer is asked last, and nobody waits where none did; then one request tries again."""
_DAY_S = 24 * 3600
_PLACES = re.compile(r"\{dn\}|\{name\}")


@dataclass(frozen=True)
class _Entry:
    """An entry as a server gave it."""

    dn: str
    attributes: Mapping[str, list[bytes]]

    def texts(self, attribute: str) -> list[str]:
        """The values of an attribute, those left out that are no text."""
        wanted = attribute.lower()
        found = (value for name, values in self.attributes.items() if name.lower() == wanted for value in values)
        texts = []
        for value in found:
            with suppress(UnicodeDecodeError):
                texts.append(value.decode())
        return texts


class LdapDirectory:
    """The servers that the settings name."""

    def __init__(
        self,
        settings: LdapSettings,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """ConfigurationError where the settings can't be used."""
        self._settings = settings
        self._now = now
        self._monotonic_s = monotonic_s
        self._admin_group = parts(settings.admin_group) if settings.admin_group else None
        if settings.admin_group and not self._admin_group:
            raise ConfigurationError("[ldap] admin_group: is no DN (RFC 4514)")
        for name, text in (("user_filter", self._user_filter("x")), ("group_filter", self._group_filter("x", "cn=x"))):
            try:
                parse_filter(text, None, True, True, None, False)  # type: ignore[no-untyped-call]
            except LDAPInvalidFilterError as error:
                raise ConfigurationError(f"[ldap] {name}: is no filter of LDAP (RFC 4515)") from error
        try:
            self._tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=settings.ca_file or None)
            for uri in settings.uris:
                self._server(uri)
        except LDAPException as error:
            raise ConfigurationError(f"[ldap] uris or ca_file: {error}") from error
        self._left_alone_until_s: dict[str, float] = {}
        self._away_until_s = 0.0
        self._is_away = False
        self._probe = threading.Lock()

    def find(self, name: str) -> Person | None:
        """See Directory."""
        return self._ask(lambda connection: self._person(connection, name)) if is_name(name) else None

    def is_password(self, name: str, password: str) -> bool:
        """See Directory. An empty password is none: a bind with one would succeed as nobody (RFC 4513, 5.1.2)."""
        if not is_name(name) or not 0 < len(password) <= _MOST_PASSWORD_CHARACTERS or "\0" in password:
            return False

        def bind(connection: ldap3.Connection) -> bool:
            entry = self._entry(connection, name)
            if entry is None:
                # Nobody's: it takes as long as a wrong password does, and is no guess at anybody's.
                nobody = f"cn={secrets.token_hex(8)},{self._settings.user_base}"
                self._binds(connection, nobody, secrets.token_hex(8))
                return False
            return self._binds(connection, entry.dn, password)

        return self._ask(bind)

    # --- the servers --------------------------------------------------------------------------------------------------

    def _ask(self, question: Callable[[ldap3.Connection], T]) -> T:
        """The answer of the first server that gives one; Unavailable.

        While none does, one request at a time finds out whether it is over; the others do not wait.
        """
        with self._turn():
            for uri in self._uris():
                try:
                    with self._connection(self._server(uri)) as connection:
                        answer = question(connection)
                except (LDAPException, OSError) as error:
                    _log.warning("LDAP server %s: %s", uri, type(error).__name__)
                    self._left_alone_until_s[uri] = self._monotonic_s() + _AWAY_S
                    continue
                self._is_away = False
                return answer
            self._away_until_s = self._monotonic_s() + _AWAY_S
            self._is_away = True
        raise Unavailable("directory", "no LDAP server answers")

    def _uris(self) -> list[str]:
        """The servers in their order, but those last that did not answer a moment ago."""
        now_s = self._monotonic_s()
        return sorted(self._settings.uris, key=lambda uri: self._left_alone_until_s.get(uri, 0.0) > now_s)

    def _server(self, uri: str) -> ldap3.Server:
        """A server, new each time: one of ldap3 remembers for minutes that it did not answer."""
        return ldap3.Server(uri, tls=self._tls, get_info=ldap3.NONE, connect_timeout=self._settings.timeout_s)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._is_away:
            yield
            return
        if self._monotonic_s() < self._away_until_s or not self._probe.acquire(blocking=False):
            raise Unavailable("directory", "no LDAP server answered a moment ago")
        try:
            yield
        finally:
            self._probe.release()

    @contextmanager
    def _connection(self, server: ldap3.Server) -> Iterator[ldap3.Connection]:
        """A connection over TLS, bound as who looks users up; LDAPException, OSError."""
        settings = self._settings
        connection = ldap3.Connection(
            server,
            receive_timeout=settings.timeout_s,
            auto_referrals=False,
            read_only=True,
            raise_exceptions=False,
        )
        try:
            connection.open(read_server_info=False)
            # Small questions one after the other: not to wait for each other's acknowledgement saves 40 ms.
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not server.ssl and not connection.start_tls(read_server_info=False):
                raise LDAPException("StartTLS was refused")
            password = read_secret("[ldap] bind_password_file", settings.bind_password_file)
            if settings.bind_dn and not self._binds(connection, settings.bind_dn, password):
                _log.error("LDAP server %s refuses [ldap] bind_dn or its password", server.name)
                raise LDAPException("refused")
            yield connection
        except ConfigurationError as error:
            _log.error("%s", error)
            raise LDAPException("no password to ask with") from error
        finally:
            with suppress(LDAPException, OSError):
                connection.unbind()

    @staticmethod
    def _binds(connection: ldap3.Connection, dn: str, password: str) -> bool:
        """Whether the server takes the password for the DN; LDAPException when it can't tell."""
        if not connection.tls_started and not connection.server.ssl:
            raise LDAPException("no TLS")
        if connection.rebind(dn, password, ldap3.SIMPLE, read_server_info=False):
            return True
        result = connection.result or {}
        if result.get("result") in _NO_PASSWORD:
            return False
        raise LDAPException(f"bind: {result.get('description')}")

    # --- entries ------------------------------------------------------------------------------------------------------

    def _person(self, connection: ldap3.Connection, name: str) -> Person | None:
        entry = self._entry(connection, name)
        if entry is None:
            return None
        groups = tuple(_group(dn) for dn in self._groups(connection, name, entry))
        is_admin = self._admin_group is not None and any(parts(each.dn) == self._admin_group for each in groups)
        ssh_keys = _ssh_keys(name, entry.texts(self._settings.ssh_key_attribute))
        return Person(name=name, is_admin=is_admin, groups=groups, ssh_keys=ssh_keys, read_at=self._now())

    def _entry(self, connection: ldap3.Connection, name: str) -> _Entry | None:
        """The entry of a user who may use the cloud."""
        settings = self._settings
        wanted = [settings.name_attribute, settings.ssh_key_attribute, "memberOf", "shadowExpire"]
        found = self._search(connection, settings.user_base, self._user_filter(name), wanted, most=2)
        if len(found) > 1:
            _log.error('LDAP has more than one user "%s": none of them is let in', name)
            return None
        # LDAP compares as the attribute's schema says, which may be looser than names are here.
        entries = (each for each in found if name in (value.lower() for value in each.texts(settings.name_attribute)))
        return next((each for each in entries if not self._is_expired(each)), None)

    def _is_expired(self, entry: _Entry) -> bool:
        """Whether `shadowExpire` (shadow(5): days since 1970, negative for never) is over."""
        today = int(self._now().timestamp()) // _DAY_S
        return any(0 <= int(text) <= today for text in entry.texts("shadowExpire") if text.lstrip("-").isdecimal())

    def _groups(self, connection: ldap3.Connection, name: str, entry: _Entry) -> list[str]:
        """The DNs of a user's groups."""
        base = self._settings.group_base
        if not base:
            return entry.texts("memberOf")
        found = self._search(connection, base, self._group_filter(name, entry.dn), [ldap3.NO_ATTRIBUTES])
        return [each.dn for each in found]

    def _search(
        self, connection: ldap3.Connection, base: str, text: str, attributes: list[str], most: int = 0
    ) -> list[_Entry]:
        connection.search(
            base,
            text,
            ldap3.SUBTREE,
            ldap3.DEREF_NEVER,
            attributes=attributes,
            size_limit=most,
            time_limit=self._settings.timeout_s,
        )
        result = connection.result
        if result["result"] not in (_SUCCESS, _SIZE_LIMIT):
            _log.error("LDAP server %s: search below %s: %s", connection.server.name, base, result["description"])
            raise LDAPException("search")
        answers: list[dict[str, Any]] = connection.response or []
        return [
            _Entry(answer["dn"], answer["raw_attributes"]) for answer in answers if answer["type"] == "searchResEntry"
        ]

    def _user_filter(self, name: str) -> str:
        who = self._settings.user_filter.replace("{now}", self._now().strftime("%Y%m%d%H%M%SZ"))
        return f"(&{who}({self._settings.name_attribute}={escape_filter_chars(name)}))"

    def _group_filter(self, name: str, dn: str) -> str:
        values = {"{dn}": escape_filter_chars(dn), "{name}": escape_filter_chars(name)}
        # In one go: what is put in is not looked at for further ones.
        return _PLACES.sub(lambda place: values[place[0]], self._settings.group_filter)


def _ssh_keys(name: str, lines: list[str]) -> tuple[str, ...]:
    """The keys of an entry, in one form; those that are none are left out."""
    ssh_keys: dict[str, None] = {}
    for line in lines:
        try:
            ssh_keys[parse_ssh_key(line)] = None
        except InvalidValue as error:
            _log.warning("an ssh key of %s in LDAP %s", name, error)
    return tuple(ssh_keys)[:MOST_SSH_KEYS]


def _group(dn: str) -> Group:
    try:
        (_, name, _), *_ = parse_dn(dn)
    except (LDAPInvalidDnError, ValueError):
        name = dn
    return Group(dn=dn, name=name)
