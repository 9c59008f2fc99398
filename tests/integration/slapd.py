"""A real slapd for tests: on loopback, with TLS and a CA of its own, users with ssh keys, groups and memberOf."""

import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ldap3

from common.settings.identity import LdapSettings
from devcloud import processes
from devcloud.ports import free_port
from devcloud.waiting import wait_for
from tests.needs import need

BASE = "dc=ucloud,dc=test"
PEOPLE = f"ou=people,{BASE}"
GROUPS = f"ou=groups,{BASE}"
ADMINS = f"cn=admins,{GROUPS}"
SERVICE = f"cn=ucloud,{BASE}"
SERVICE_PASSWORD = "the service's own"
_ROOT = f"cn=root,{BASE}"
_ROOT_PASSWORD = "the tests' own"
_SLAPD = "/usr/sbin/slapd"
_SCHEMA = """
attributetype ( 1.3.6.1.4.1.24552.500.1.1.1.13 NAME 'sshPublicKey'
  EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )
objectclass ( 1.3.6.1.4.1.24552.500.1.1.2.0 NAME 'ldapPublicKey' SUP top AUXILIARY MAY ( sshPublicKey $ uid ) )
"""
_CONF = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
include {directory}/openssh.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
pidfile {directory}/slapd.pid
TLSCACertificateFile {directory}/ca.pem
TLSCertificateFile {directory}/server.pem
TLSCertificateKeyFile {directory}/server.key
security simple_bind=128
database mdb
suffix "{base}"
rootdn "{root}"
rootpw "{root_password}"
directory {directory}/db
maxsize 33554432
dbnosync
overlay memberof
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{service}" read by * none
"""


class Slapd:
    """One server. `close` ends it; its files are the directory's."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        (directory / "db").mkdir(parents=True)
        (directory / "openssh.schema").write_text(_SCHEMA)
        names = {"base": BASE, "root": _ROOT, "root_password": _ROOT_PASSWORD, "service": SERVICE}
        (directory / "slapd.conf").write_text(_CONF.format(directory=directory, **names))
        (directory / "service.password").write_text(f"{SERVICE_PASSWORD}\n")
        self.ca_file = directory / "ca.pem"
        _make_certificates(directory)
        self.port, self.tls_port = free_port(), free_port()
        self.start()
        self._fill()

    def start(self) -> None:
        """Start the process and wait until it answers."""
        urls = f"ldap://[::1]:{self.port}/ ldaps://[::1]:{self.tls_port}/"
        command = ["setpriv", "--pdeathsig", "KILL", _SLAPD, "-d", "0", "-f", str(self._directory / "slapd.conf")]
        with (self._directory / "slapd.log").open("ab") as log:
            self._process = subprocess.Popen([*command, "-h", urls], stdout=log, stderr=log)
        wait_for("slapd", self._listens, 20)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_INET6) as probe:
            return probe.connect_ex(("::1", self.tls_port)) == 0

    def settings(self, **changes: Any) -> LdapSettings:
        """Settings that ask this server."""
        values: dict[str, Any] = {
            "uris": (f"ldaps://[::1]:{self.tls_port}",),
            "ca_file": str(self.ca_file),
            "bind_dn": SERVICE,
            "bind_password_file": str(self._directory / "service.password"),
            "user_base": PEOPLE,
            "admin_group": ADMINS,
            "timeout_s": 1,
        }
        return LdapSettings(**{**values, **changes})

    # --- what administrators of a directory do ------------------------------------------------------------------------

    def add(self, dn: str, classes: Iterable[str], **attributes: Any) -> None:
        """Add an entry."""
        with self._connection() as connection:
            connection.add(dn, list(classes), attributes)  # type: ignore[no-untyped-call]

    def add_user(self, name: str, password: str, **attributes: Any) -> str:
        """Add a user; returns its DN."""
        dn = f"uid={name},{PEOPLE}"
        classes = ("inetOrgPerson", "ldapPublicKey", "shadowAccount")
        self.add(dn, classes, cn=name, sn=name, userPassword=password, **attributes)
        return dn

    def set(self, dn: str, **attributes: Any) -> None:
        """Replace attributes of an entry."""
        changes = {
            name: [(ldap3.MODIFY_REPLACE, value if isinstance(value, list) else [value])]
            for name, value in attributes.items()
        }
        with self._connection() as connection:
            connection.modify(dn, changes)  # type: ignore[no-untyped-call]

    def add_group(self, name: str, *members: str) -> str:
        """Add a group of users, by DN; returns its DN."""
        dn = f"cn={name},{GROUPS}"
        self.add(dn, ["groupOfNames"], member=list(members))
        return dn

    def remove(self, dn: str) -> None:
        """Remove an entry."""
        with self._connection() as connection:
            connection.delete(dn)  # type: ignore[no-untyped-call]

    def _connection(self) -> ldap3.Connection:
        tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=str(self.ca_file))
        server = ldap3.Server("::1", port=self.tls_port, use_ssl=True, tls=tls, get_info=ldap3.NONE)
        return ldap3.Connection(server, _ROOT, _ROOT_PASSWORD, auto_bind=True, raise_exceptions=True)

    def _fill(self) -> None:
        self.add(BASE, ["dcObject", "organization"], o="ucloud")
        self.add(PEOPLE, ["organizationalUnit"])
        self.add(GROUPS, ["organizationalUnit"])
        self.add(SERVICE, ["organizationalRole", "simpleSecurityObject"], userPassword=SERVICE_PASSWORD)

    # --- what happens to servers --------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Freeze it: connections are taken and never answered."""
        processes.freeze(self._process.pid)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the process, for good or until `start`."""
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End the process and remove the data."""
        self.stop()
        shutil.rmtree(self._directory)


@contextmanager
def running_slapd(directory: Path) -> Iterator[Slapd]:
    """A server without users, whose files are below `directory`."""
    need(Path(_SLAPD).exists(), "slapd is not installed: make setup")
    server = Slapd(directory / "data")
    try:
        yield server
    finally:
        server.close()


def _make_certificates(directory: Path) -> None:
    """A CA, and the certificate of a server at ::1 that it signed."""
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    ca = ["-x509", "-subj", "/CN=CA of a test", "-keyout", "ca.key", "-out", "ca.pem"]
    server = ["-x509", "-subj", "/CN=slapd", "-addext", "subjectAltName=IP:::1", "-addext", "basicConstraints=CA:FALSE"]
    by_ca = ["-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "server.key", "-out", "server.pem"]
    for arguments in (ca, [*server, *by_ca]):
        command = ["openssl", "req", *new_key, *arguments]
        subprocess.run(command, cwd=directory, check=True, capture_output=True)
