"""Start ucloud-api: settings, log, the folder of the counts, gunicorn."""

import os
import sys
import tempfile

from common import log, settings
from common.errors import ConfigurationError


def main() -> None:
    """Serve until a signal; never returns."""
    try:
        configuration = settings.load(os.environ)
        log.set_up(configuration.log.level, configuration.log.format == "json")
    except ConfigurationError as error:
        sys.exit(f"ucloud-api: {error}")
    directory = tempfile.mkdtemp(prefix="ucloud-api-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
    # Imported only now: prometheus_client looks at the variable when it is imported.
    from ucloud_api.server import Server  # noqa: PLC0415

    Server(configuration, directory).run()


if __name__ == "__main__":
    main()
