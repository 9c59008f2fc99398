"""The web application: routes, refusals, health and metrics put together."""

import json
import logging
import time
from importlib.metadata import version

from flask import Response, g, request
from flask_openapi.models.info import Info
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from werkzeug.exceptions import UnsupportedMediaType

from common.errors import Conflict
from ucloud_api import document, events, host, problems
from ucloud_api.access import auth
from ucloud_api.doctor import routes as doctor
from ucloud_api.images import file, image, image_store
from ucloud_api.networks import network, security_group
from ucloud_api.reading.vm_views import VmViews
from ucloud_api.users import project, session, ssh_key, user
from ucloud_api.vms import console, disk, moves, port, snapshot, vm, why
from ucloud_api.worker.metrics import HttpMetrics, registry_to_show
from ucloud_api.worker.state import State
from ucloud_api.writing import idempotency

_log = logging.getLogger(__name__)
MAX_BODY_BYTES = 64 * 1024


_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "POST", "PATCH", "PUT", "DELETE"))


def create_app(state: State) -> document.DocumentedApp:
    """The application that serves from `state`."""
    app = document.DocumentedApp(
        "ucloud_api",
        info=Info(title="ucloud", version=version("ucloud")),
        validation_error_callback=problems.invalid,
        validation_error_model=problems.Problem,
    )
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.extensions["ucloud"] = state
    app.extensions[vm.VIEWS] = VmViews(state)
    things = (vm, disk, port, snapshot, moves, console, host, image, image_store, file, network, security_group)
    for module in (session, user, project, ssh_key, *things, events, doctor, why):
        app.register_api(module.blueprint)
    app.register_api(session.of_user)
    problems.register(app)
    _count(app, HttpMetrics(state.metrics.registry))
    app.before_request(_prepare)
    app.register_error_handler(Conflict, _answer_conflict)
    _add_health(app, state)
    return app


def _answer_conflict(error: Conflict) -> Response:
    """What a transaction that lost against another one is answered with."""
    answered = idempotency.answer_conflict(error)
    if answered is not None:
        return answered
    return problems.respond(
        problems.ApiProblem(409, "changed-meanwhile", "somebody else changed it meanwhile; try again").problem
    )


def _prepare() -> Response | None:
    """Before each request: who asks, whether what is asked can be read, whether it was answered already."""
    auth.authenticate()
    if request.method not in ("POST", "PATCH") or request.routing_exception is not None or request.endpoint in file.RAW:
        return None
    _check_body()
    return idempotency.begin()


def _check_body() -> None:
    """Refuse a body that is no JSON object before anything looks into it. None at all is for the route to judge."""
    try:
        if not request.get_data() and not request.content_type and request.method == "POST":
            if request.endpoint not in vm.BODILESS:
                raise UnsupportedMediaType("The body must be application/json.")
            return
        body = request.get_json()
    except RecursionError as error:
        raise problems.ApiProblem(400, "bad-json", "the body is nested too deeply") from error
    if not isinstance(body, dict):
        wrong = problems.FieldProblem(field="body", problem="must be an object")
        raise problems.ApiProblem(422, "invalid-fields", "the body must be a JSON object", [wrong])


def _count(app: document.DocumentedApp, metrics: HttpMetrics) -> None:
    @app.before_request
    def begin() -> None:
        g.began_s = time.monotonic()

    @app.after_request
    def end(response: Response) -> Response:
        rule, method = request.url_rule, request.method
        took_s = time.monotonic() - g.began_s
        # What a client makes up is no label: each one is kept for ever.
        label = method if method in _METHODS else "other"
        metrics.count(
            label, rule.rule if rule else "none", response.status_code, None if response.is_streamed else took_s
        )
        if method not in ("GET", "HEAD", "OPTIONS"):
            _log.info("%s %s: %d in %.0f ms", method, request.path, response.status_code, took_s * 1000)
        return response


def _add_health(app: document.DocumentedApp, state: State) -> None:
    @app.get("/healthz", doc_ui=False)
    def healthz() -> Response:
        healthy, report = state.health.report()
        return Response(json.dumps(report), 200 if healthy else 503, mimetype="application/json")

    @app.get("/metrics", doc_ui=False)
    def metrics() -> Response:
        return Response(generate_latest(registry_to_show(state.metrics.registry)), content_type=CONTENT_TYPE_LATEST)
