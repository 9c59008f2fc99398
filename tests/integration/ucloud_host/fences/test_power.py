"""The contract of the fence `power`, over Redfish on a BMC and over a command: never sure unless the power is off."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import ConfigurationError
from common.settings import FenceSettings
from devcloud.waiting import wait_for
from tests.fake_bmc import PASSWORD, USER, FakeBmc
from ucloud_host.fences import Fence, Silence, Word
from ucloud_host.fences.power import power_fence

SILENCE = Silence("h1", 5)
TIMEOUT_S = 1
COMMAND = """#!/bin/sh
# The admin's command, as it may be: it asks the BMC by itself.
python3 - "$1" <<'END'
import base64, json, sys, time, urllib.request
url = "{url}".replace("{{host}}", sys.argv[1])
login = {{"Authorization": "Basic " + base64.b64encode(b"{user}:{password}").decode()}}
def call(path="", body=None):
    data = json.dumps(body).encode() if body else None
    return json.load(urllib.request.urlopen(urllib.request.Request(url + path, data, login)))
if call()["PowerState"] != "Off":
    call("/Actions/ComputerSystem.Reset", {{"ResetType": "ForceOff"}})
    while call()["PowerState"] != "Off":
        time.sleep(0.1)
END
"""


@pytest.fixture
def bmc() -> Iterator[FakeBmc]:
    """A BMC that works."""
    with FakeBmc() as bmc:
        yield bmc


def _redfish(bmc: FakeBmc, folder: Path, password: str = PASSWORD, timeout_s: int = TIMEOUT_S) -> Fence:
    secret = folder / "password"
    secret.write_text(password + "\n")
    settings = FenceSettings(
        redfish_url=bmc.url, redfish_user=USER, redfish_password_file=str(secret), timeout_s=timeout_s
    )
    return power_fence(settings)


def _command(bmc: FakeBmc, folder: Path, password: str = PASSWORD, timeout_s: int = TIMEOUT_S) -> Fence:
    script = folder / "cut power"
    script.write_text(COMMAND.format(url=bmc.url, user=USER, password=password))
    script.chmod(0o755)
    return power_fence(FenceSettings(power_command=f"'{script}'", timeout_s=timeout_s))


MAKERS = pytest.mark.parametrize("make", [_redfish, _command])


@MAKERS
def test_yes_once_the_power_is_off(bmc: FakeBmc, tmp_path: Path, make: type) -> None:
    bmc.takes_s = 0.2
    answer = make(bmc, tmp_path, timeout_s=30).ask(SILENCE)
    assert (answer.word, bmc.is_on, bmc.resets) == (Word.YES, False, ["ForceOff"])


@MAKERS
def test_yes_of_a_machine_that_is_off_already(bmc: FakeBmc, tmp_path: Path, make: type) -> None:
    bmc.is_on = False
    answer = make(bmc, tmp_path, timeout_s=30).ask(SILENCE)
    assert (answer.word, bmc.resets) == (Word.YES, [])


@pytest.mark.parametrize(
    ("make", "fault"),
    [(_redfish, "lies"), (_redfish, "is_dead"), (_redfish, "breaks"), (_command, "takes_s"), (_command, "is_dead")],
)
def test_never_yes_where_it_is_not_sure(bmc: FakeBmc, tmp_path: Path, make: type, fault: str) -> None:
    setattr(bmc, fault, {"takes_s": 3600.0, "breaks": "<html>"}.get(fault, True))
    began = time.monotonic()
    answer = make(bmc, tmp_path).ask(SILENCE)
    assert answer.word is not Word.YES
    assert answer.why
    assert bmc.is_on
    # It keeps its time; generously, as the machine may be busy.
    assert time.monotonic() - began < TIMEOUT_S + 20


@MAKERS
def test_never_yes_without_the_right_password(bmc: FakeBmc, tmp_path: Path, make: type) -> None:
    answer = make(bmc, tmp_path, password="guessed").ask(SILENCE)
    assert (answer.word, bmc.is_on, bmc.resets) == (Word.UNKNOWN, True, [])
    assert "guessed" not in str(answer)


@MAKERS
def test_never_yes_where_nobody_listens(tmp_path: Path, make: type) -> None:
    with FakeBmc() as bmc:
        pass
    assert make(bmc, tmp_path).ask(SILENCE).word is Word.UNKNOWN


def test_a_command_that_can_not_be_run_is_no_yes(tmp_path: Path) -> None:
    answer = power_fence(FenceSettings(power_command=str(tmp_path / "missing"))).ask(SILENCE)
    assert str(answer) == "unknown: fence.power_command can't be run: No such file or directory"


def test_a_command_that_fails_says_why() -> None:
    answer = power_fence(FenceSettings(power_command="sh -c 'echo no route to $0 >&2; exit 3'")).ask(SILENCE)
    assert str(answer) == "unknown: fence.power_command ended with 3: no route to h1"


def test_what_a_command_has_started_ends_with_its_time(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    fence = power_fence(FenceSettings(power_command=f"sh -c 'sleep 600 & echo $! > {pid}; wait'", timeout_s=2))
    assert fence.ask(SILENCE).word is Word.UNKNOWN
    if not pid.exists():  # the machine is so slow that nothing was started
        return
    state = Path(f"/proc/{pid.read_text().strip()}/stat")

    def has_ended() -> bool:
        try:
            return ") Z " in state.read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_for("its end", has_ended, 20)


@pytest.mark.parametrize(("url", "command"), [("", ""), ("https://bmc/{host}", "/bin/true")])
def test_there_must_be_one_way_to_cut_power(url: str, command: str) -> None:
    with pytest.raises(ConfigurationError, match=r"either fence\.redfish_url or fence\.power_command"):
        power_fence(FenceSettings(redfish_url=url, power_command=command))
