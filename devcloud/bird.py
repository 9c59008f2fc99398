"""bird, the routing daemon, on hosts and on their router, with the files in routing/ as administrators have them."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from devcloud.errors import DevcloudError

_PROJECT = Path(__file__).resolve().parent.parent
_ROUTING = _PROJECT / "routing"
_HOSTS_AS, _ROUTERS_AS = 65001, 65000


@dataclass(frozen=True)
class Bird:
    """A bird, whose files are `directory`/bird.conf and bird.ctl: a socket, so no long path (unix(7))."""

    directory: Path

    def write_host(self, number: int, router: str) -> None:
        """Have it tell `router`, an address, what is on host `number`."""
        self._write(
            f"log stderr all;\nrouter id 10.0.0.{number};\n"
            f'include "{_ROUTING}/ucloud-host.conf";\n'
            "protocol bgp upstream from ucloud_upstream "
            f"{{ local as {_HOSTS_AS}; neighbor {router} as {_ROUTERS_AS}; }}\n"
        )

    def write_router(self, pool: str, hosts: str) -> None:
        """Have it learn of what is in `pool`, a prefix, from whoever is in another one, `hosts`."""
        self._write(
            "log stderr all;\nrouter id 10.0.1.1;\n"
            f"define UCLOUD_PREFIXES = [ {pool}{{64,128}} ];\n"
            f"protocol static ucloud_nowhere {{ ipv6; route {pool} unreachable; }}\n"
            f'include "{_ROUTING}/ucloud-router.conf";\n'
            f"protocol bgp from ucloud_host {{ local as {_ROUTERS_AS}; neighbor range {hosts} as {_HOSTS_AS}; }}\n"
        )

    @property
    def command(self) -> list[str]:
        """What runs it, in the foreground; where it runs is where it finds links and routes."""
        return [str(_find_binary()), "-f", "-c", str(self._settings), "-s", str(self._socket)]

    def ask(self, *question: str) -> str:
        """What it answers to a command of birdc, such as `show protocols`."""
        command = [str(_find_binary().with_name("birdcl")), "-s", str(self._socket), *question]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def _write(self, text: str) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._settings.write_text(text, encoding="ascii")

    @property
    def _settings(self) -> Path:
        return self.directory / "bird.conf"

    @property
    def _socket(self) -> Path:
        return self.directory / "bird.ctl"


def _find_binary() -> Path:
    """The bird that `tools/setup` fetched, else the one on PATH."""
    fetched = _PROJECT / ".cache/bird/usr/sbin/bird"
    found = fetched if fetched.exists() else shutil.which("bird")
    if found is None:
        raise DevcloudError("there is no bird here: make setup")
    return Path(found)
