"""What an operator wants to know of uploads, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class SftpFigures:
    """Log-ins by how they ended (ok, refused, too many), connections of users now, bytes by way (sftp, http)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.logins = Counter("ucloud_sftp_logins_total", "Connections by SSH", ["outcome"], registry=registry)
        self.connections = Gauge("ucloud_sftp_connections", "Connections of users who are logged in", registry=registry)
        self.bytes = Counter("ucloud_upload_bytes_total", "Bytes that were sent or got", ["way"], registry=registry)
