"""A bare Flask application under the same web server as the API: what a request costs before ucloud does anything."""

import sys

from flask import Flask

from common.web_server import Listener, WebServer


def create_app() -> Flask:
    """An application with one route, which greets."""
    app = Flask("hello")

    @app.get("/")
    def hello() -> str:
        return "hello"

    return app


def main() -> None:
    """`python -m bench.hello ADDRESS PORT WORKERS THREADS`: serve until a signal."""
    address, port, workers, threads = sys.argv[1:]
    WebServer(Listener("hello", address, int(port), int(workers), int(threads)), create_app).run()


if __name__ == "__main__":
    main()
