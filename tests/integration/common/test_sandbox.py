"""The sandbox, with a hostile program in place of qemu-img: what it can't read, reach, start, take, or survive."""

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import seccomp

from common.errors import ConfigurationError
from common.sandbox import Allowance, Answer, Limits, NoSandbox, run
from devcloud.waiting import wait_for
from ucloud_image import qemu_img

MIB = 1024 * 1024
PYTHON = "/usr/bin/python3"
LIMITS = Limits(memory_bytes=512 * MIB, file_bytes=MIB, cpu_s=20, time_s=60)
PROJECT = Path(__file__).resolve().parents[3]
DEADLINE_S = 30.0
TRY = """
import os, sys
def attempt(what):
    try:
        print("DONE", what())
    except BaseException as error:
        print(type(error).__name__, getattr(error, "strerror", None))
"""


def _python(code: str, allowance: Allowance | None = None, limits: Limits = LIMITS) -> Answer:
    return run([PYTHON, "-I", "-c", TRY + code], allowance or Allowance(), limits)


def _attempts(code: str, allowance: Allowance | None = None) -> list[str]:
    answer = _python("\n".join(f"attempt(lambda: {line.strip()})" for line in code.strip().splitlines()), allowance)
    assert answer.return_code == 0, answer
    return answer.output.splitlines()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file to be read."""
    path = tmp_path / "source"
    path.write_bytes(b"the image")
    path.chmod(0o444)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file to be written."""
    path = tmp_path / "target"
    path.touch(0o600)
    return path


def test_it_reads_nothing_of_the_host_but_programs_and_libraries(source: Path) -> None:
    secret = source.parent / "secret"
    secret.write_text("of somebody else")
    assert (
        _attempts(
            f"""open("/etc/passwd").read()
            open("/etc/shadow").read()
            open({str(secret)!r}).read()
            os.listdir("/proc")
            os.listdir("/sys")
            os.listdir("/etc")
            os.listdir("/root")
            os.open("/dev/mem", os.O_RDONLY)
            os.readlink("/proc/1/root")""",
            Allowance(reads={"/source": source}),
        )
        == ["FileNotFoundError No such file or directory"] * 9
    )
    assert _attempts(
        """sorted(os.listdir("/"))
           sorted(os.listdir("/usr"))
           sorted(os.listdir("/usr/bin"))
           sorted(os.listdir("/dev"))
           open("/source").read()""",
        Allowance(reads={"/source": source}),
    ) == [
        "DONE ['dev', 'lib', 'lib64', 'source', 'usr']",
        "DONE ['bin', 'lib', 'lib64']",
        "DONE ['python3', 'setpriv']",
        "DONE ['null']",
        "DONE the image",
    ]  # fmt: skip


def test_no_descriptor_of_the_daemon_is_open_in_it(source: Path) -> None:
    with source.open() as file:
        os.set_inheritable(file.fileno(), True)
        code = "attempt(lambda: [n for n in range(3, 1024) if __import__('fcntl').fcntl(n, 1) >= 0])"
        assert _python(code).output.startswith("OSError Bad file descriptor")


def test_it_writes_nothing_but_the_target(source: Path, target: Path) -> None:
    allowance = Allowance(reads={"/source": source}, writes={"/target": target})
    attempts = _attempts(
        """open("/x", "w")
           open("/usr/lib/x", "w")
           open("/dev/x", "w")
           open("/tmp/x", "w")
           os.mkdir("/x")
           open("/source", "w")
           os.chmod("/source", 0o777)
           os.unlink("/target")
           os.link("/target", "/x")
           os.symlink("/etc/passwd", "/x")
           os.mknod("/x")
           open("/target", "w").write("done")""",
        allowance,
    )
    refusals = ("OSError", "PermissionError", "FileNotFoundError")
    assert [line for line in attempts if not line.startswith(refusals)] == ["DONE 4"]
    assert (target.read_text(), source.read_text()) == ("done", "the image")
    assert (target.stat().st_uid, target.stat().st_mode & 0o777) == (os.geteuid(), 0o600)


def test_it_writes_no_more_than_it_may(target: Path) -> None:
    code = 'f = open("/target", "wb")\nfor _ in range(64): f.write(bytes(65536)); f.flush()'
    answer = _python(code, Allowance(writes={"/target": target}))
    assert answer.return_code != 0
    assert "File too large" in answer.output
    assert target.stat().st_size == LIMITS.file_bytes


@pytest.fixture
def listeners(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """Somebody who listens on ::1, and on a socket of the file system."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
        (tmp_path / "socket").chmod(0o777)
        unix.listen()
        yield tcp.getsockname()[1], str(tmp_path / "socket")


def test_it_has_no_network(listeners: tuple[int, str]) -> None:
    port, path = listeners
    code = f"""__import__("socket").create_connection(("::1", {port}), 5)
               __import__("socket").socket(__import__("socket").AF_UNIX)
               __import__("socket").socket(__import__("socket").AF_NETLINK, 3)
               __import__("socket").socket(__import__("socket").AF_VSOCK)"""
    assert _attempts(code) == ["PermissionError Operation not permitted"] * 4
    assert _attempts('os.listdir("/")', Allowance(reads={"/socket": Path(path)}))  # even when it were there


def test_it_reaches_the_socket_that_it_is_given_and_no_other(listeners: tuple[int, str]) -> None:
    """This is how a conversion writes into a disk that is no file."""
    port, path = listeners
    code = f"""__import__("socket").socket(1).connect("/target")
               __import__("socket").socket(1).connect("{path}")
               __import__("socket").create_connection(("::1", {port}), 5)
               __import__("socket").socket(1).bind("/x")
               __import__("socket").socket(1).listen()
               __import__("socket").socket(16, 3)"""
    allowance = Allowance(sockets={"/target": Path(path)})
    assert _attempts(code, allowance) == [
        "DONE None",
        "FileNotFoundError No such file or directory",
        *["PermissionError Operation not permitted"] * 4,
    ]


def test_it_starts_no_process_and_does_not_flood_with_threads() -> None:
    assert (
        _attempts(
            """os.fork()
           os.posix_spawn("/usr/bin/python3", ["python3"], {})
           __import__("subprocess").run(["/usr/bin/python3", "-c", "print(1)"])"""
        )
        == ["PermissionError Operation not permitted"] * 3
    )
    bomb = """
import threading
threading.stack_size(32768)
stop = threading.Event()
started = 0
try:
    while True:
        threading.Thread(target=stop.wait, daemon=True).start()
        started += 1
except RuntimeError:
    print(started, flush=True)
os._exit(0)
"""
    assert 0 < int(_python(bomb, limits=Limits(4096 * MIB, 0, 60, 60)).output) <= 1024


def test_it_takes_no_more_memory_than_it_may() -> None:
    code = """
import resource
hoard = []
try:
    while True: hoard.append(bytearray(b"x" * 1048576))
except MemoryError:
    hoard.clear()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    assert 64 * MIB < int(_python(code).output) * 1024 <= LIMITS.memory_bytes
    # Memory that is no address space of its own.
    assert _attempts('os.memfd_create("x")') == ["PermissionError Operation not permitted"]


def test_it_is_killed_when_it_took_its_time_of_a_processor() -> None:
    answer = _python("while True: pass", limits=Limits(512 * MIB, 0, cpu_s=1, time_s=120))
    assert (answer.return_code, answer.was_too_slow) in {(128 + signal.SIGXCPU, False), (128 + signal.SIGKILL, False)}


def test_it_is_killed_at_its_deadline_whatever_it_ignores(target: Path) -> None:
    code = f"""
import fcntl, signal, threading
file = open("/target", "w")
fcntl.flock(file, fcntl.LOCK_EX)
for number in {[int(number) for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}]}:
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
os.close(0); os.close(1); os.close(2)
threading.Event().wait()
"""
    before = time.monotonic()
    answer = _python(code, Allowance(writes={"/target": target}), Limits(512 * MIB, 0, cpu_s=60, time_s=3))
    assert answer.was_too_slow
    assert time.monotonic() - before < 20
    _wait_unlocked(target)


def test_it_dies_with_its_daemon(target: Path) -> None:
    inner = "import fcntl,time; f=open('/target','w'); fcntl.flock(f, 2); f.write('up'); f.flush(); time.sleep(50)"
    daemon = f"""
from pathlib import Path
from common.sandbox import *
run(["{PYTHON}", "-c", {inner!r}], Allowance(writes={{"/target": Path({str(target)!r})}}), {LIMITS})
"""
    with subprocess.Popen([sys.executable, "-c", daemon], cwd=PROJECT) as process:
        wait_for("the program", lambda: target.read_text() == "up", DEADLINE_S)
        assert _is_locked(target)
        process.kill()
    _wait_unlocked(target)


def _wait_unlocked(path: Path) -> None:
    wait_for("the program's end", lambda: not _is_locked(path), DEADLINE_S)


def _is_locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_only_the_end_of_what_it_says_is_kept() -> None:
    answer = _python("while True: sys.stdout.write('x' * 65536)", limits=Limits(512 * MIB, 0, cpu_s=1, time_s=60))
    assert len(answer.output) <= 8192


def test_it_is_nobody_and_will_stay_so() -> None:
    answer = _python(
        """
import ctypes
libc = ctypes.CDLL(None)
print(os.getresuid(), os.getresgid(), os.getgroups(), os.getpid() < 5)
print("no new privileges", libc.prctl(39, 0, 0, 0, 0), "filter", libc.prctl(21))
print("bounding", [libc.prctl(23, n) for n in range(41)])
print(sorted(os.environ))
attempt(lambda: os.setuid(0))
attempt(lambda: os.kill(1, 9))
"""
    )
    lines = answer.output.splitlines()
    assert lines[0] == "(65534, 65534, 65534) (65534, 65534, 65534) [] True"
    assert lines[1] == "no new privileges 1 filter 2"
    assert lines[2] == f"bounding {[0] * 41}"
    assert {"LC_ALL", "MALLOC_ARENA_MAX"} <= set(eval(lines[3])) <= {"LC_ALL", "LC_CTYPE", "MALLOC_ARENA_MAX", "PWD"}  # noqa: S307
    assert lines[4:] == ["PermissionError Operation not permitted"] * 2


@pytest.mark.parametrize(
    "name", ["unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "ptrace", "bpf", "io_uring_setup",
             "perf_event_open", "userfaultfd", "keyctl", "add_key", "process_vm_readv", "open_by_handle_at", "shmget",
             "memfd_create", "fork", "vfork"]
)  # fmt: skip
def test_the_kernel_refuses_what_it_has_no_use_for(name: str) -> None:
    number = seccomp.resolve_syscall(seccomp.Arch(), name)
    code = (
        f"import ctypes; l = ctypes.CDLL(None, use_errno=True); print(l.syscall({number}, 0, 0, 0), ctypes.get_errno())"
    )
    assert _python(code).output == "-1 1\n"


def test_new_namespaces_are_refused_also_by_clone() -> None:
    for new in (0x10000000, 0x20000, 0x40000000):  # CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWNET
        assert _syscall("clone", new) == "-1 1\n"


def _syscall(name: str, first: int) -> str:
    """What comes of a system call, and the error number."""
    number = seccomp.resolve_syscall(seccomp.Arch(), name)
    call = f"c.syscall({number}, {first}, 0)"
    return _python(f"import ctypes; c = ctypes.CDLL(None, use_errno=True); print({call}, ctypes.get_errno())").output


def test_without_its_parts_nothing_is_run(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoSandbox) as missing_file:
        run(["qemu-img", "--version"], Allowance(reads={"/source": source.parent / "none"}), LIMITS)
    assert "/" not in str(missing_file.value)  # its text is shown to the owner of the image
    assert str(source.parent / "none") in missing_file.value.detail
    monkeypatch.setenv("PATH", str(source.parent))
    with pytest.raises(NoSandbox):
        run([PYTHON, "-c", ""], Allowance(), LIMITS)
    with pytest.raises(ConfigurationError, match="is not run without: prlimit is not installed"):
        qemu_img.ensure_it_runs()


def test_sandboxes_do_not_see_one_another() -> None:
    answers: list[Answer] = []
    code = "import time; time.sleep(0.5); attempt(lambda: [n for n in range(1, 100) if os.path.exists(f'/proc/{n}')])"
    code += "\nattempt(lambda: os.kill(-1, 9))"
    threads = [threading.Thread(target=lambda: answers.append(_python(code))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # -1 is all that it may send to: nobody but itself, which Linux leaves out.
    assert [answer.output.splitlines()[0] for answer in answers] == ["DONE []"] * 4
    assert {answer.return_code for answer in answers} == {0}


def test_it_works_with_the_capabilities_that_the_unit_allows() -> None:
    allowed = " ".join(re.findall(r"^CapabilityBoundingSet=(.*)$", _unit(), re.MULTILINE)).lower().split()
    bounding = ",".join(["-all", *(f"+{name.removeprefix('cap_')}" for name in allowed)])
    _ensure_it_runs("setpriv", f"--bounding-set={bounding}", "--no-new-privs")


def test_it_works_with_the_system_calls_that_the_unit_allows(tmp_path: Path) -> None:
    log = tmp_path / "strace.log"
    _ensure_it_runs("strace", "-f", "-qq", "-o", str(log))
    used = set(re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.MULTILINE))
    assert {"mount", "pivot_root", "clone"} < used
    allowed = " ".join(re.findall(r"^SystemCallFilter=(.*)$", _unit(), re.MULTILINE)).split()
    assert used - {call for name in (*allowed, "@default") for call in _system_calls(name)} == set()


def _unit() -> str:
    units = PROJECT / "systemd"
    return (units / "ucloud-image.service").read_text() + (units / "ucloud-image.service.d/unshare.conf").read_text()


def _system_calls(name: str) -> Iterator[str]:
    """What a name of a SystemCallFilter stands for: systemd.exec(5)."""
    if not name.startswith("@"):
        yield name
        return
    command = ["systemd-analyze", "syscall-filter", name]
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[1:]:
        if line.strip() and not line.strip().startswith("#"):
            yield from _system_calls(line.strip())


def test_it_works_in_a_chroot(tmp_path: Path) -> None:
    enter = f"mount --make-rprivate / && mount --rbind / {tmp_path} && exec chroot {tmp_path}"
    script = f'{enter} sh -c \'cd {PROJECT}; exec "$@"\' sh "$@"'
    _ensure_it_runs("unshare", "--mount", "sh", "-euc", script, "sh")


def _ensure_it_runs(*prefix: str) -> None:
    code = "from ucloud_image.qemu_img import ensure_it_runs; ensure_it_runs()"
    done = subprocess.run(
        [*prefix, sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
