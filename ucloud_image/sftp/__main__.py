"""ucloud-image-sftp: wiring only."""

import asyncio
import ipaddress
import logging
import os
import secrets
import threading

import asyncssh

from common import daemon, keys
from common.directory import Users
from common.errors import ConfigurationError, LeaseExpired, StoreError, Unavailable
from common.lease import Lease
from common.schemas.file import UploadServer
from common.settings import HealthSettings
from common.store import Put, unchanged
from ucloud_image.folders import FolderLimits, UploadFolders
from ucloud_image.parts import Parts
from ucloud_image.sftp import server
from ucloud_image.sftp.expiry import expire_parts
from ucloud_image.sftp.figures import SftpFigures
from ucloud_image.sftp.host_key import read_or_make_host_key
from ucloud_image.sftp.limits import Pace
from ucloud_image.sftp.uploads import Desk, add_routes

_log = logging.getLogger(__name__)
DEFAULT_PORT = 9710
_TTL_S = 10
_RETRY_S = 1.0
_GIB, _MIB = 1024**3, 1024**2


def wire(host: daemon.Daemon) -> None:
    """Build the daemon's parts and start its threads."""
    image, sftp = host.settings.image, host.settings.sftp
    host_key = read_or_make_host_key(sftp.host_key_file)
    if not os.access(image.upload_directory, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigurationError(f"image.upload_directory: {image.upload_directory} is no folder to write into")
    folders = UploadFolders(image.upload_directory, FolderLimits(image.upload_quota_gib * _GIB, image.upload_files))
    figures = SftpFigures(host.metrics.registry)
    pace = Pace(sftp.mib_per_s * _MIB)
    ldap = host.settings.ldap
    takes_passwords = bool(ldap.uris) and ldap.proofs == {"password"}
    parts = server.Parts(sftp, Users(host.store, ldap), ldap.refresh_s, folders, pace, figures, takes_passwords)
    uploads = Parts(folders)
    token = secrets.token_urlsafe(32)
    add_routes(host.http, Desk(token, folders, uploads, figures, pace, host.stop.wait))

    is_listening = threading.Event()
    host.health.add_check("sftp", lambda: None if is_listening.is_set() else "not listening yet")

    def serve(stop: threading.Event) -> None:
        asyncio.run(_serve_until(host, stop, parts, host_key, is_listening))

    record = UploadServer(url=_url(host.settings.health, host.port, host.settings.host.name), token=token)
    host.start("sftp", serve)
    host.start("announce", lambda stop: _announce(host, record, stop))
    host.start("expiry", lambda stop: expire_parts(image.upload_directory, uploads, stop))


async def _serve_until(
    host: daemon.Daemon, stop: threading.Event, parts: server.Parts, host_key: asyncssh.SSHKey, is_up: threading.Event
) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()

    def end() -> None:
        loop.call_soon_threadsafe(stopped.set)

    host.at_stop(end)
    if not stop.is_set():
        await server.serve(parts, host_key, stopped, is_up.set)


def _announce(host: daemon.Daemon, record: UploadServer, stop: threading.Event) -> None:
    """Have the API know where uploads go, for as long as this runs."""
    key = keys.upload_server(host.settings.host.name)
    while not stop.is_set():
        try:
            lease = Lease.grant(host.store, _TTL_S)
            before = host.store.get(key)
            compare = unchanged(key, before.mod_revision if before else 0)
            host.store.commit([compare], [Put(key, record.to_json(), lease.id)])
            lease.keep(stop)
            lease.revoke()
        except (LeaseExpired, StoreError, Unavailable) as error:
            _log.warning("the API can't be told where uploads go: %s", error)
            stop.wait(_RETRY_S)


def _url(health: HealthSettings, port: int, host_name: str) -> str:
    """The URL under which the API reaches this; by the host's name when it listens on all addresses."""
    address = ipaddress.ip_address(health.address)
    if address.is_unspecified:
        return f"http://{host_name}:{port}"
    return f"http://[{address}]:{port}" if address.version == 6 else f"http://{address}:{port}"


def main() -> None:
    """Run the daemon until a signal."""
    daemon.main("ucloud-image-sftp", DEFAULT_PORT, wire)


if __name__ == "__main__":
    main()
