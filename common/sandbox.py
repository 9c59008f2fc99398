"""Runs a program on hostile files, where there is nothing but these files and what the program is made of.

Around it, from the outside in: prlimit(1) sets limits; bwrap(1) (bubblewrap) makes namespaces of its own for files,
processes, network and IPC, and loads a filter of system calls; setpriv(1) makes root nobody without capabilities.
docs/design/0012-hostile-images.md says what each of them holds. A program that breaks out of one is held by the others.
"""

import errno
import logging
import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import seccomp

from common.errors import TemporaryError

_log = logging.getLogger(__name__)
_PARTS = ("prlimit", "bwrap", "setpriv")
_NOBODY = 65534
_TAIL_BYTES = 8192
_CLONE_THREAD = 0x10000
_MOST_TASKS_OF_NOBODY = 1024
"""All of nobody's on the machine count, so this is only to end a flood of threads."""

# Taken from the program. Each line says what for.
_FORBIDDEN = (
    "fork", "vfork",  # one process: limits of memory and time hold for one, so they hold for all (see clone below)
    "memfd_create", "memfd_secret", "shmget", "msgget", "semget",  # memory that RLIMIT_AS does not count
    "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd",  # other processes
    "unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsmount",
    "mount_setattr", "open_by_handle_at", "name_to_handle_at",  # the way back to the host's files
    "io_uring_setup", "bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key",
    "quotactl", "fanotify_init", "personality",  # large and often faulty parts of the kernel that nobody here needs
)  # fmt: skip
_FORBIDDEN_OF_SOCKETS = ("bind", "listen", "accept", "accept4")


class NoSandbox(TemporaryError):
    """There can be no sandbox now. `detail` is for the log: it may name files of the server."""

    def __init__(self, detail: str) -> None:
        super().__init__("the server can't make a sandbox to read it in; its log says why")
        self.detail = detail


@dataclass(frozen=True)
class Allowance:
    """What a program reaches beside its libraries: files and unix sockets, by the names that it knows (`/name`).

    Files to be written exist already; they are the `user`'s while the program runs: a uid and a gid, by default
    nobody's, without any other right. Those to be read must be readable for that user, or for everybody, sockets be
    writable: give them folders that keep everybody out.
    """

    reads: Mapping[str, Path] = field(default_factory=dict)
    writes: Mapping[str, Path] = field(default_factory=dict)
    sockets: Mapping[str, Path] = field(default_factory=dict)
    user: tuple[int, int] = (_NOBODY, _NOBODY)


@dataclass(frozen=True)
class Limits:
    """What a program may take: address space, size of a file, processor time, time."""

    memory_bytes: int
    file_bytes: int
    cpu_s: int
    time_s: int


@dataclass(frozen=True)
class Answer:
    """How a program ended; `output` is the end of what it said. A signal's number plus 128 is a return code too."""

    return_code: int
    output: str
    was_too_slow: bool = False


def run(
    command: Sequence[str],
    allowance: Allowance,
    limits: Limits,
    hear: Callable[[bytes], None] = lambda _chunk: None,
) -> Answer:
    """Run `command` to its end; `hear` is told all that it says, as it comes.

    NoSandbox, and nothing was run, when there can be no sandbox now.
    """
    for part in _PARTS:
        _find(part)
    with ExitStack() as stack:
        stack.enter_context(_owned_by(allowance.user, allowance.writes.values()))
        filter_descriptor = stack.enter_context(_filter(bool(allowance.sockets)))
        enclosed = _enclosed(command[0], allowance, filter_descriptor)
        whole = [*_limited(limits, allowance.user), *enclosed, *_deprived(command, allowance.user)]
        try:
            process = subprocess.Popen(
                whole,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(filter_descriptor,),
                env={"PATH": os.environ.get("PATH", os.defpath)},
            )
        except OSError as error:
            raise _no_sandbox(f"{whole[0]}: {error.strerror}") from error
        with process:
            answer = _wait(process, time.monotonic() + limits.time_s, hear)
    if answer.output.startswith(tuple(f"{program}: " for program in _PARTS)):
        raise _no_sandbox(answer.output.strip()[:500])
    return answer


def _no_sandbox(detail: str) -> NoSandbox:
    _log.error("no sandbox: %s", detail)
    return NoSandbox(detail)


def _wait(process: "subprocess.Popen[bytes]", deadline: float, hear: Callable[[bytes], None]) -> Answer:
    """Read all that is said, keep its end, and kill what is still there at the deadline: all in the sandbox dies."""
    pipe = process.stdout
    assert pipe is not None  # noqa: S101 - for the types: it was asked for
    news = select.poll()  # unlike select(2), it takes any descriptor of a daemon that has many
    news.register(pipe)
    tail = b""
    try:
        while (left_s := deadline - time.monotonic()) > 0:
            if not news.poll(1000 * left_s):
                continue
            chunk = os.read(pipe.fileno(), 65536)
            if not chunk:
                return_code = process.wait(left_s)
                return Answer(_positive(return_code), tail.decode(errors="replace"))
            tail = (tail + chunk)[-_TAIL_BYTES:]
            hear(chunk)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()
        process.wait()
    return Answer(_positive(process.returncode), tail.decode(errors="replace"), was_too_slow=True)


def _positive(return_code: int) -> int:
    return return_code if return_code >= 0 else 128 - return_code


def _limited(limits: Limits, user: tuple[int, int]) -> list[str]:
    # The tasks of somebody else are not ours alone.
    tasks = [f"--nproc={_MOST_TASKS_OF_NOBODY}"] if user[0] == _NOBODY else []
    # prlimit(1) instead of a preexec_fn, which is not safe in a process with threads.
    return [
        "prlimit",
        f"--as={limits.memory_bytes}",
        f"--fsize={limits.file_bytes}",
        f"--cpu={limits.cpu_s}",
        *tasks,
        "--core=0",
    ]


def _enclosed(program: str, allowance: Allowance, filter_descriptor: int) -> list[str]:
    """bwrap, with a root directory that holds what is named here and nothing else, and that nobody can write to."""
    arguments = ["bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try", "--unshare-net"]
    arguments += ["--die-with-parent", "--new-session", "--seccomp", str(filter_descriptor)]
    arguments += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"]
    # Threads share one arena: each would reserve address space of its own otherwise.
    arguments += ["--clearenv", "--setenv", "LC_ALL", "C.UTF-8", "--setenv", "MALLOC_ARENA_MAX", "1"]
    arguments += ["--dir", "/usr", "--dir", "/usr/bin", "--ro-bind", "/usr/lib", "/usr/lib"]
    arguments += ["--ro-bind-try", "/usr/lib64", "/usr/lib64", "--symlink", "usr/lib", "/lib"]
    arguments += ["--symlink", "usr/lib64", "/lib64", "--dir", "/dev", "--dev-bind", "/dev/null", "/dev/null"]
    for name in ("setpriv", program):
        arguments += ["--ro-bind", _find(name), _inside(name)]
    for inside, path in allowance.reads.items():
        arguments += ["--ro-bind", str(path), inside]
    for inside, path in (*allowance.writes.items(), *allowance.sockets.items()):
        arguments += ["--bind", str(path), inside]
    return [*arguments, "--remount-ro", "/", "--chdir", "/", "--"]


def _deprived(command: Sequence[str], user: tuple[int, int]) -> list[str]:
    return [
        "/usr/bin/setpriv",
        f"--reuid={user[0]}",
        f"--regid={user[1]}",
        "--clear-groups",
        "--no-new-privs",
        "--inh-caps=-all",
        "--bounding-set=-all",
        _inside(command[0]),
        *command[1:],
    ]


def _inside(program: str) -> str:
    return f"/usr/bin/{Path(program).name}"


def _find(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise _no_sandbox(f"{program} is not installed on this machine")
    return os.path.realpath(path)


@contextmanager
def _owned_by(user: tuple[int, int], paths: Collection[Path]) -> Iterator[None]:
    for path in paths:
        os.chown(path, *user, follow_symlinks=False)
    try:
        yield
    finally:
        for path in paths:
            os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)


@contextmanager
def _filter(has_sockets: bool) -> Iterator[int]:
    """A descriptor of the filter of system calls, as a program for the kernel (seccomp(2)).

    With `has_sockets` unix sockets may be connected to, those that can be seen; there are no others of any kind.
    """
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    for name in (*_FORBIDDEN, *_FORBIDDEN_OF_SOCKETS, *(() if has_sockets else ("socket", "connect"))):
        rules.add_rule(seccomp.ERRNO(errno.EPERM), name)
    if has_sockets:
        rules.add_rule(seccomp.ERRNO(errno.EPERM), "socket", seccomp.Arg(0, seccomp.NE, socket.AF_UNIX))
    # Threads only. The flags of clone3 can't be seen from here: without it, the C library falls back to clone.
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    rules.add_rule(seccomp.ERRNO(errno.EPERM), "clone", seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_THREAD, 0))
    with os.fdopen(os.memfd_create("filter"), "r+b") as file:
        rules.export_bpf(file)
        file.seek(0)
        yield file.fileno()
