"""Real daemons as processes of a test: started with settings from the environment, frozen, killed, asked."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import requests
from prometheus_client.parser import text_string_to_metric_families

from devcloud import processes
from devcloud.ports import free_port
from devcloud.waiting import wait_for

DEADLINE_S = 60.0


class DaemonProcess:
    """One daemon. It ends with the test's process, whatever happens to that."""

    def __init__(self, package: str, log: Path, environment: dict[str, str]) -> None:
        self.log = log
        self.port = free_port()
        self._package = package
        self._environment = {**os.environ, **environment, "UCLOUD_HEALTH_PORT": str(self.port)}
        self.start()

    def start(self) -> None:
        """Start the process."""
        command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", self._package]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    def health(self) -> dict[str, object] | None:
        """What /healthz says, None while nobody answers."""
        try:
            report: dict[str, object] = requests.get(f"http://[::1]:{self.port}/healthz", timeout=2).json()
        except requests.RequestException:
            return None
        return report

    def metric(self, name: str, **labels: str) -> float:
        """The sample with these labels, of those that it has, from /metrics; 0 if there is none."""
        text = requests.get(f"http://[::1]:{self.port}/metrics", timeout=20).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        found = (sample for sample in samples if sample.name == name and labels.items() <= sample.labels.items())
        return next((sample.value for sample in found), 0.0)

    def wait_healthy(self) -> None:
        """Wait until /healthz says ok."""

        def is_ok() -> bool:
            assert self._process.poll() is None, f"{self._package} has ended by itself"
            return (self.health() or {}).get("status") == "ok"

        try:
            wait_for(f"{self._package} healthy", is_ok, DEADLINE_S)
        except Exception:
            print(self.health(), self.log.read_text()[-5000:], sep="\n")
            raise

    def wait_role(self, role: str) -> None:
        """Wait until it leads, or stands by."""

        def has_role() -> bool:
            return (self.health() or {}).get("role") == role

        wait_for(f"{self._package} {role}, see {self.log}", has_role, DEADLINE_S)

    def pause(self) -> None:
        """Freeze it: SIGSTOP."""
        processes.freeze(self._process.pid)

    def resume(self) -> None:
        """Let it go on: SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        """Ask it to end; returns its exit status."""
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            return self._process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGUSR1)
            said = wait_for("where its threads are", lambda: _stacks(self.log), DEADLINE_S)
            raise AssertionError(f"{self._package} does not end, it is at:\n{said}") from None

    def close(self) -> None:
        """End it, if it runs still; what it logged must not hold a traceback."""
        self.kill()
        assert "Traceback" not in self.log.read_text(), f"see {self.log}"


def _stacks(log: Path) -> str:
    """What a daemon has written of its threads at SIGUSR1."""
    _, found, stacks = log.read_text().partition("Thread 0x")
    return found + stacks if "Current thread" in stacks else ""  # the main one, which is written last
