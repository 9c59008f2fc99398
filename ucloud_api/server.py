"""The API under gunicorn: each worker with a state of its own."""

from flask import Flask

from common.directory import LdapDirectory
from common.settings import Settings
from common.web_server import AT_STOP, Listener, WebServer
from ucloud_api.app import create_app
from ucloud_api.worker.last_writes import LastWrites
from ucloud_api.worker.state import FOLLOWED, State


def make_server(configuration: Settings, metrics_directory: str) -> WebServer:
    """The server that the settings describe; ConfigurationError when its certificate or LDAP can't be used."""
    api = configuration.api
    listener = Listener(
        "ucloud-api", api.address, api.port, api.workers, api.threads, api.cert_file, api.key_file, metrics_directory
    )

    if configuration.ldap.uris:
        LdapDirectory(configuration.ldap)
    last_writes = LastWrites(FOLLOWED)

    def create() -> Flask:
        state = State(configuration, last_writes)
        state.start()
        app = create_app(state)
        app.extensions[AT_STOP] = state.end_streams
        return app

    return WebServer(listener, create)
