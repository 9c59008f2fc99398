"""Start ucloud-api: settings, log, the folder of the counts, gunicorn."""

import os
import shutil
import sys
import tempfile

from common import log, settings
from common.errors import ConfigurationError


def main() -> None:
    """Serve until a signal; never returns."""
    directory = tempfile.mkdtemp(prefix="ucloud-api-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
    # Imported only now: prometheus_client looks at the variable when it is imported.
    from ucloud_api.server import make_server  # noqa: PLC0415

    try:
        configuration = settings.load(os.environ)
        log.set_up(configuration.log.level, configuration.log.format == "json")
        server = make_server(configuration, directory)
    except ConfigurationError as error:
        shutil.rmtree(directory, ignore_errors=True)
        sys.exit(f"ucloud-api: {error}")
    server.run()


if __name__ == "__main__":
    main()
