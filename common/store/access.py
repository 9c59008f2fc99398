"""Users and roles of etcd, made as they are to be. Source: etcd's rpc.proto, service Auth."""

import secrets
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from etcd3.etcdrpc import auth_pb2, rpc_pb2

from common.errors import ConfigurationError, Refused
from common.metrics import Metrics
from common.store.connection import Connection, EtcdOptions
from common.store.transaction import prefix_end

_READ, _READ_AND_WRITE = auth_pb2.Permission.READ, auth_pb2.Permission.READWRITE
_ROOT = "root"
_PASSWORD_BYTES = 32
_TIMEOUT_S = 5.0
"""Of one attempt: etcd hashes passwords slowly, on purpose."""


class AccessControl:
    """Who may do what in etcd, told as `root`. Each call leaves what is as it should be already."""

    def __init__(self, options: EtcdOptions) -> None:
        """ConfigurationError without a certificate: where etcd knows nobody by theirs, roles would shut all out."""
        if not options.cert_file:
            raise ConfigurationError("etcd.cert_file: the certificate of etcd's root is required")
        self._connection = Connection(options, Metrics())

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def set_user(self, name: str, rights: Iterable[tuple[str, bool]]) -> bool:
        """Let a user, who has a role of the same name, do this and nothing else; whether anything had to be changed.

        `rights` are keys (with a slash at their end: all below), each with whether it may be written as well as read.
        """
        changed = self._make("AuthRoleAdd", name=name)
        held = {(held.key, held.range_end): held.permType for held in self._call("AuthRoleGet", role=name).perm}
        wanted = {_range(key): _READ_AND_WRITE if writes else _READ for key, writes in rights}
        for (key, end), kind in wanted.items():
            if held.get((key, end)) != kind:
                permission = auth_pb2.Permission(permType=kind, key=key, range_end=end)
                self._call("AuthRoleGrantPermission", name=name, perm=permission)
                changed = True
        for key, end in held.keys() - wanted.keys():
            self._call("AuthRoleRevokePermission", role=name, key=key, range_end=end)
            changed = True
        return self._have_user(name) or changed

    def enable(self) -> None:
        """Refuse whoever has no role, but for `root`, who may do everything.

        ConfigurationError, and nobody is refused, where etcd does not know this client to be `root`.
        """
        self._make("AuthRoleAdd", name=_ROOT)
        self._have_user(_ROOT)
        if self._is_enabled():
            return
        password = secrets.token_urlsafe(_PASSWORD_BYTES)
        self._call("AuthUserChangePassword", name=_ROOT, password=password)
        self._call("AuthEnable")
        try:
            self._call("AuthRoleList")
        except Refused as error:
            self._disable(password)
            wrong = "etcd does not know by its certificate that this is root: is it started with --client-cert-auth?"
            raise ConfigurationError(f"etcd.cert_file: {wrong}") from error

    def _is_enabled(self) -> bool:
        try:
            self._call("Authenticate", name=_ROOT, password="")
        except Refused as error:
            return "not enabled" not in str(error)
        return True

    def _disable(self, password: str) -> None:
        options = replace(self._connection.options, user=_ROOT, password=password)
        connection = Connection(options, Metrics())
        try:
            connection.call(lambda stubs: stubs.auth.AuthDisable, rpc_pb2.AuthDisableRequest(), _TIMEOUT_S)
        finally:
            connection.close()

    def _have_user(self, name: str) -> bool:
        # A certificate is what lets it in: a password that nobody knows keeps out who has none.
        added = self._make("AuthUserAdd", name=name, password=secrets.token_urlsafe(_PASSWORD_BYTES))
        roles = self._call("AuthUserGet", name=name).roles
        if name not in roles:
            self._call("AuthUserGrantRole", user=name, role=name)
        for other in set(roles) - {name}:
            self._call("AuthUserRevokeRole", name=name, role=other)
        return added or list(roles) != [name]

    def _make(self, call: str, **what: Any) -> bool:
        """Make something, if it is not there yet; False if it was."""
        try:
            self._call(call, **what)
        except Refused as error:
            if "already exists" not in str(error):
                raise
            return False
        return True

    def _call(self, call: str, **what: Any) -> Any:
        method = call if call in ("AuthEnable", "Authenticate") else call.removeprefix("Auth")
        request = getattr(rpc_pb2, f"{call}Request")(**what)
        return self._connection.call(lambda stubs: getattr(stubs.auth, method), request, _TIMEOUT_S)


def _range(key: str) -> tuple[bytes, bytes]:
    """What etcd calls a key, or all that are below it."""
    return key.encode(), prefix_end(key) if key.endswith("/") else b""
