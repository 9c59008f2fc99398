"""/healthz and /metrics over HTTP, in every daemon."""

import json
import threading
from collections.abc import Callable, Mapping

from flask import Flask, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from werkzeug.serving import BaseWSGIServer, make_server

from common.metrics import Metrics


class Health:
    """What can be wrong with a daemon: checks that make it unhealthy, and records that it had to leave alone."""

    def __init__(self) -> None:
        self._checks: dict[str, Callable[[], str | None]] = {}
        self._malformed: list[Callable[[], Mapping[str, str]]] = []
        self._facts: dict[str, Callable[[], str]] = {}

    def add_check(self, name: str, check: Callable[[], str | None]) -> None:
        """`check` returns what is wrong, or None."""
        self._checks[name] = check

    def add_fact(self, name: str, fact: Callable[[], str]) -> None:
        """`fact` returns something worth knowing that is neither good nor bad: "leading", "standby"."""
        self._facts[name] = fact

    def add_malformed(self, source: Callable[[], Mapping[str, str]]) -> None:
        """`source` returns the keys of malformed records with the problem of each."""
        self._malformed.append(source)

    def report(self) -> tuple[bool, dict[str, object]]:
        """Whether all is well, and the details."""
        problems = {name: problem for name, check in self._checks.items() if (problem := check())}
        malformed = {key: problem for source in self._malformed for key, problem in source().items()}
        return not problems, {
            "status": "unhealthy" if problems else "ok",
            "problems": problems,
            "malformed_records": malformed,
            **{name: fact() for name, fact in self._facts.items()},
        }


def create_app(name: str, health: Health, metrics: Metrics) -> Flask:
    """A web application with /healthz (200, or 503 with the problems) and /metrics."""
    app = Flask(name)

    @app.get("/healthz")
    def healthz() -> Response:
        healthy, report = health.report()
        return Response(json.dumps(report), 200 if healthy else 503, mimetype="application/json")

    @app.get("/metrics")
    def prometheus() -> Response:
        return Response(generate_latest(metrics.registry), content_type=CONTENT_TYPE_LATEST)

    return app


def serve(app: Flask, address: str, port: int) -> BaseWSGIServer:
    """Answer `app` on `address`:`port` from threads in the background; returns the server, to be shut down."""
    server = make_server(address, port, app, threaded=True)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
