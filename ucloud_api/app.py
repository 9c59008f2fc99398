"""The web application: routes, refusals, health and metrics put together."""

import json
import logging
import time
from importlib.metadata import version

from flask import Response, g, request
from flask_openapi.models.info import Info
from flask_openapi.openapi import OpenAPI
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ucloud_api import host, image, problems, vm
from ucloud_api.metrics import HttpMetrics, registry_to_show
from ucloud_api.state import State

_log = logging.getLogger(__name__)
MAX_BODY_BYTES = 64 * 1024


def create_app(state: State) -> OpenAPI:
    """The application that serves from `state`."""
    app = OpenAPI(
        "ucloud_api",
        info=Info(title="ucloud", version=version("ucloud")),
        validation_error_callback=problems.invalid,
        validation_error_model=problems.Problem,
    )
    # flask-openapi writes 3.2 by default, which few tools read yet.
    app.openapi_version = "3.1.0"
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.extensions["ucloud"] = state
    for module in (vm, host, image):
        app.register_api(module.blueprint)
    problems.register(app)
    app.before_request(_check_body)
    _count(app, HttpMetrics(state.metrics.registry))
    _add_health(app, state)
    return app


def _check_body() -> None:
    """Refuse a body that is no JSON object before anything looks into it."""
    if request.routing_exception is not None or request.method not in ("POST", "PATCH"):
        return
    try:
        body = request.get_json()
    except RecursionError as error:
        raise problems.ApiProblem(400, "bad-json", "the body is nested too deeply") from error
    if not isinstance(body, dict):
        wrong = problems.FieldProblem(field="body", problem="must be an object")
        raise problems.ApiProblem(422, "invalid-fields", "the body must be a JSON object", [wrong])


def _count(app: OpenAPI, metrics: HttpMetrics) -> None:
    @app.before_request
    def begin() -> None:
        g.began_s = time.monotonic()

    @app.after_request
    def end(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "none"
        took_s = time.monotonic() - g.get("began_s", time.monotonic())
        metrics.requests.labels(request.method, route, response.status_code).inc()
        if not response.is_streamed:
            metrics.seconds.labels(request.method, route).observe(took_s)
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            _log.info("%s %s: %d in %.0f ms", request.method, request.path, response.status_code, took_s * 1000)
        return response


def _add_health(app: OpenAPI, state: State) -> None:
    @app.get("/healthz", doc_ui=False)
    def healthz() -> Response:
        healthy, report = state.health.report()
        return Response(json.dumps(report), 200 if healthy else 503, mimetype="application/json")

    @app.get("/metrics", doc_ui=False)
    def metrics() -> Response:
        return Response(generate_latest(registry_to_show(state.metrics.registry)), content_type=CONTENT_TYPE_LATEST)
