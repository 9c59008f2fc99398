"""What a service manager does on real machines: supervisord keeps the programs of a cloud running."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]

from devcloud import processes
from devcloud.errors import DevcloudError
from devcloud.waiting import wait_for


@dataclass(frozen=True)
class Program:
    """A program to keep running, by its name, command, environment, and where it tells whether it is well."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    health_url: str = ""


class Services:
    """The supervisord of one cloud: its configuration and logs under `data`, its socket and process id under `run`."""

    def __init__(self, data: Path, run: Path) -> None:
        self.log_directory = data / "log"
        self._configuration = data / "supervisord.conf"
        self._socket = run / "supervisor.sock"
        self._pid_file = run / "supervisord.pid"

    def pid(self) -> int | None:
        """The process id of supervisord, or None when it does not run."""
        try:
            pid = int(self._pid_file.read_text(encoding="ascii"))
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if str(self._configuration).encode() in arguments and processes.is_alive(pid) else None

    def apply(self, programs: Sequence[Program], environment: Mapping[str, str]) -> None:
        """Keep exactly `programs` running; those that run as described already are left alone."""
        self.log_directory.mkdir(parents=True, exist_ok=True)
        self._configuration.write_text(self._render(programs, environment), encoding="utf-8")
        if self.pid() is None:
            self._start()
            return
        [[added, changed, removed]] = self._call("reloadConfig")
        for group in (*changed, *removed):
            self._call("stopProcessGroup", group)
            self._call("removeProcessGroup", group)
        for group in (*added, *changed):
            self._call("addProcessGroup", group)

    def states(self) -> dict[str, tuple[str, int]]:
        """Each program's state in supervisord's words (RUNNING, BACKOFF, ...) and process id (0 when it has none)."""
        return {each["name"]: (each["statename"], each["pid"]) for each in self._call("getAllProcessInfo")}

    def program_pid(self, program: str) -> int:
        """The process id of a program, waiting while it is being started anew."""

        def look() -> int | None:
            state, pid = self.states()[program]
            return pid if state in ("STARTING", "RUNNING") and processes.is_alive(pid) else None

        return wait_for(f"{program} running, see {self.log(program)}", look, timeout_s=30)

    def signal(self, program: str, number: signal.Signals) -> int:
        """Send a signal to a program; returns the process id it had."""
        pid = self.program_pid(program)
        os.kill(pid, number)
        return pid

    def stop(self, program: str) -> None:
        """End a program, and keep it ended."""
        self._call("stopProcess", program)

    def crash(self, program: str) -> None:
        """End a program at once, by a signal that it can't handle, and keep it ended."""
        pid = self.program_pid(program)
        # Frozen, it does not get to heed the gentler signal that supervisord has.
        processes.freeze(pid)
        self._call("stopProcess", program, False)
        processes.send([pid], signal.SIGKILL)
        wait_for(f"the end of {program}", lambda: self.states()[program][0] == "STOPPED", timeout_s=10)

    def start(self, program: str) -> None:
        """Start a program that was stopped."""
        self._call("startProcess", program)

    def log(self, program: str) -> Path:
        """Where what a program writes is kept."""
        return self.log_directory / f"{program}.log"

    def _start(self) -> None:
        supervisord = Path(sys.executable).parent / "supervisord"
        done = subprocess.run(
            [supervisord, "-c", self._configuration], capture_output=True, text=True, check=False, cwd="/"
        )
        if done.returncode:
            raise DevcloudError(f"supervisord: {(done.stderr or done.stdout).strip()}")
        wait_for("supervisord answering", self._answers, timeout_s=10)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self._call("getState"))
        return False

    def _call(self, method: str, *arguments: object) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        with contextlib.closing(transport):
            server = xmlrpc.client.ServerProxy("http://supervisor", transport=cast(Any, transport))
            try:
                return getattr(server.supervisor, method)(*arguments)
            except xmlrpc.client.Fault as fault:
                raise DevcloudError(f"supervisord: {method} {arguments}: {fault.faultString}") from fault

    def _render(self, programs: Sequence[Program], environment: Mapping[str, str]) -> str:
        sections = [
            f"[supervisord]\nlogfile={self.log_directory}/supervisord.log\npidfile={self._pid_file}\n"
            f"environment={_environment(environment)}",
            f"[unix_http_server]\nfile={self._socket}\nchmod=0700",
            "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        ]
        sections += [
            f"[program:{program.name}]\n"
            f"command={_escape(shlex.join(program.command))}\n"
            f"environment={_environment(program.environment)}\n"
            f"autorestart=true\nstartsecs=1\nstartretries=1000\nstopwaitsecs=15\n"
            f"redirect_stderr=true\nstdout_logfile={_escape(str(self.log(program.name)))}\nstdout_logfile_maxbytes=0"
            for program in programs
        ]
        return "\n\n".join(sections) + "\n"


def _environment(variables: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escape(value)}"' for name, value in variables.items())


def _escape(value: str) -> str:
    return value.replace("%", "%%")
