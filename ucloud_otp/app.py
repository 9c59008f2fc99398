"""The routes of ungleich-otp, with its answers and statuses, and the rights of its realms.

A caller of the realm ungleich-auth may show the same token again within its time: services verify many users in one
step of 30 s. Whoever overhears it can ask whether somebody else's token is right, and nothing else. A caller of
ungleich-admin can make and remove entries, so its tokens are used up like those of everybody who logs in.
"""

import logging
import traceback
from collections.abc import Mapping
from enum import Enum

from flask import Flask, Response, jsonify, request
from prometheus_client import Counter
from werkzeug.exceptions import BadRequest, HTTPException, UnsupportedMediaType

from common import keys
from common.errors import MalformedRecord, StoreError, TooManyTries, UcloudError, Unavailable
from common.health import Health, create_app
from common.metrics import Metrics
from common.store import Store
from common.throttle import Throttle, network_of
from ucloud_otp.bodies import Body, FieldErrors, caller_of, named_entry_of, new_entry_of, subject_of
from ucloud_otp.entries import Entries, NameTaken, NoSuchEntry
from ucloud_otp.verifier import Claim, Verifier

_log = logging.getLogger(__name__)
MAX_BODY_BYTES = 8 * 1024
_RETRY_AFTER_S = 5
WRONG_CALLERS = "20 per minute"
"""So many wrong tokens of callers are looked at from one network."""

_NOT_AUTHENTICATED = "Incorrect authentication credentials."
_NOT_PERMITTED = "You do not have permission to perform this action."


class _Right(Enum):
    VERIFY = "verify"
    MANAGE = "manage"


_ADMIN_REALM = "ungleich-admin"
_RIGHTS = {_ADMIN_REALM: {_Right.VERIFY, _Right.MANAGE}, "ungleich-auth": {_Right.VERIFY}}


class _Refused(UcloudError):
    """403: `detail` says whether it is about who the caller is, or about what it may."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def _body() -> Body:
    """The fields of the request's body, JSON or a form."""
    if request.mimetype in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return request.form.to_dict()
    if not request.is_json:
        raise UnsupportedMediaType(f'Unsupported media type "{request.mimetype}" in request.')
    try:
        body = request.get_json()
    except (RecursionError, ValueError) as error:
        raise BadRequest("JSON parse error") from error
    return body if isinstance(body, dict) else {}


class _Gate:
    """Lets callers in that are who they say they are, and whose realm has the right."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self._wrong = Throttle(WRONG_CALLERS)

    def pass_with(self, body: Body, right: _Right) -> Claim:
        """The caller; _Refused or TooManyTries if it is not let in."""
        network = network_of(request.remote_addr)
        self._wrong.check(network)
        caller = caller_of(body)
        if caller is None or not self._is_authentic(caller):
            self._wrong.count(network)
            _log.warning("a caller from %s is not who it says it is, or of a realm without rights", network)
            raise _Refused(_NOT_AUTHENTICATED)
        if right not in _RIGHTS[caller.realm]:
            raise _Refused(_NOT_PERMITTED)
        return caller

    def _is_authentic(self, caller: Claim) -> bool:
        if caller.realm not in _RIGHTS:
            return False
        return self._verifier.accept(caller) if caller.realm == _ADMIN_REALM else self._verifier.is_right(caller)


def create_otp_app(store: Store, metrics: Metrics, trusted_callers: frozenset[str] = frozenset()) -> Flask:
    """The application that serves from `store`. `trusted_callers` hold off those who guess by themselves."""
    health = Health()
    health.add_check("etcd", lambda: _problem_of(store))
    app = create_app("ucloud-otp", health, metrics)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    verifier = Verifier(store)
    gate = _Gate(verifier)
    _add_verification(app, gate, verifier, metrics, trusted_callers)
    _add_management(app, gate, Entries(store))
    _answer_errors(app)
    return app


def _problem_of(store: Store) -> str | None:
    try:
        store.get(keys.OTP)
    except (Unavailable, StoreError) as error:
        return str(error)
    return None


def _add_verification(
    app: Flask, gate: _Gate, verifier: Verifier, metrics: Metrics, trusted_callers: frozenset[str]
) -> None:
    verifications = Counter(
        "ucloud_otp_verifications_total", "Tokens that were verified", ["result"], registry=metrics.registry
    )

    @app.post("/ungleichotp/verify/")
    def verify() -> Response:
        body = _body()
        caller = gate.pass_with(body, _Right.VERIFY)
        subject = subject_of(body)
        is_counted = caller.realm == _ADMIN_REALM or caller.name not in trusted_callers
        is_right = verifier.accept(subject, is_counted)
        verifications.labels("right" if is_right else "wrong").inc()
        if not is_right:
            raise _Refused(_NOT_PERMITTED)
        return jsonify(status="OK")


def _add_management(app: Flask, gate: _Gate, entries: Entries) -> None:
    @app.get("/ungleichotp/")
    def list_entries() -> Response:
        gate.pass_with(_body(), _Right.MANAGE)
        return jsonify([{"id": each.id, "name": each.name, "realm": each.realm} for each in entries.list()])

    @app.post("/ungleichotp/")
    def create() -> tuple[Response, int]:
        body = _body()
        caller = gate.pass_with(body, _Right.MANAGE)
        is_replaced = body.get("replace") is True
        name, realm = named_entry_of(body) if is_replaced else new_entry_of(body)
        entry_id, entry = entries.replace(name, realm) if is_replaced else entries.create(name, realm)
        _log.info("%s of %s made %s of %s%s", caller.name, caller.realm, name, realm, " anew" if is_replaced else "")
        return jsonify(id=entry_id, name=name, realm=realm, seed=entry.seed), 201

    @app.delete("/ungleichotp/")
    def delete_by_name() -> tuple[str, int]:
        body = _body()
        caller = gate.pass_with(body, _Right.MANAGE)
        name, realm = named_entry_of(body)
        entries.delete(name, realm)
        _log.info("%s of %s removed %s of %s", caller.name, caller.realm, name, realm)
        return "", 204

    @app.delete("/ungleichotp/<int:entry_id>/")
    def delete(entry_id: int) -> tuple[str, int]:
        caller = gate.pass_with(_body(), _Right.MANAGE)
        entries.delete_by_id(entry_id)
        _log.info("%s of %s removed entry %d", caller.name, caller.realm, entry_id)
        return "", 204


def _detail(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    response = jsonify(detail=detail)
    response.status_code = status
    response.headers.update(headers or {})
    return response


def _answer_errors(app: Flask) -> None:
    @app.errorhandler(_Refused)
    def refused(error: _Refused) -> Response:
        return _detail(403, error.detail)

    @app.errorhandler(FieldErrors)
    def wrong_fields(error: FieldErrors) -> tuple[Response, int]:
        return jsonify(error.errors), 400

    @app.errorhandler(NameTaken)
    def taken(error: NameTaken) -> tuple[Response, int]:
        return jsonify(non_field_errors=["The fields name, realm must make a unique set."]), 400

    @app.errorhandler(NoSuchEntry)
    def unknown(error: NoSuchEntry) -> Response:
        return _detail(404, "Not found.")

    @app.errorhandler(TooManyTries)
    def throttled(error: TooManyTries) -> Response:
        detail = f"Request was throttled. Expected available in {error.retry_after_s} seconds."
        return _detail(429, detail, {"Retry-After": str(error.retry_after_s)})

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        headers = {key: value for key, value in error.get_headers() if key == "Allow"}
        return _detail(error.code or 500, error.description or error.name, headers)

    @app.errorhandler(Unavailable)
    @app.errorhandler(StoreError)
    def away(error: UcloudError) -> Response:
        _log.warning("%s", error)
        return _detail(503, "The seeds can't be read at the moment.", {"Retry-After": str(_RETRY_AFTER_S)})

    @app.errorhandler(MalformedRecord)
    def malformed(error: MalformedRecord) -> Response:
        _log.error("malformed record: %s", error)
        return _detail(500, "The entry can't be read; the server's log says why.")

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        # Where, but not the text, which may hold what was sent, or a seed.
        where = traceback.extract_tb(error.__traceback__)[-1]
        _log.error("a request failed: %s in %s, line %s", type(error).__name__, where.filename, where.lineno)
        return _detail(500, "The server failed.")
