"""Start ucloud-otp: settings, log, gunicorn with one worker. More of it are more daemons, on any machine."""

import os
import sys

from flask import Flask

from common import log, settings
from common.errors import ConfigurationError
from common.metrics import Metrics
from common.store import EtcdOptions, Store
from common.web_server import Listener, WebServer
from ucloud_otp.app import create_otp_app

_STORE_TIMEOUT_S = 4.0


def main() -> None:
    """Serve until a signal; never returns."""
    try:
        configuration = settings.load(os.environ)
        log.set_up(configuration.log.level, configuration.log.format == "json")
        otp = configuration.otp
        listener = Listener("ucloud-otp", otp.address, otp.port, 1, otp.threads, otp.cert_file, otp.key_file)

        def create() -> Flask:
            store = Store(EtcdOptions.from_settings(configuration.etcd, _STORE_TIMEOUT_S))
            return create_otp_app(store, Metrics(), frozenset(otp.trusted_callers))

        server = WebServer(listener, create)
    except ConfigurationError as error:
        sys.exit(f"ucloud-otp: {error}")
    server.run()


if __name__ == "__main__":
    main()
