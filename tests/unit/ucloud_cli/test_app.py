"""The shape of the command line: nouns and verbs, the flat form, where options may stand."""

import pytest
from click.testing import CliRunner

from ucloud_cli.app import cli
from ucloud_cli.kinds import rule_text
from ucloud_cli.networks import PLUG

COMMANDS = [
    "vm create", "vm list", "vm show", "vm delete", "vm start", "vm stop", "vm suspend", "vm resume", "vm reboot",
    "vm watch", "vm log", "vm events", "vm console", "vm screenshot", "vm ls", "vm rm",
    "vm rename", "vm resize", "vm protect", "vm unprotect",
    "user create", "user list", "user show", "user set", "user delete", "context list", "context use", "context delete",
    "network create", "network list", "network show", "network delete", "network rename", "network set",
    "security-group create", "security-group list", "security-group show", "security-group delete",
    "security-group rule add", "security-group rule remove", "vm attach", "vm detach",
    "vm disk list", "vm disk add", "vm disk grow", "vm disk remove",
    "user ssh-key add", "user ssh-key list", "user ssh-key remove", "user ssh-key ls",
    "host list", "host show", "host set", "image create", "image list", "image show", "image set", "image delete",
]  # fmt: skip
SPECS = ("--cpu", "1", "--ram", "1", "--ssd", "1")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_nested_and_flat(command: str) -> None:
    nested = CliRunner().invoke(cli, [*command.split(), "--help"])
    flat = CliRunner().invoke(cli, [command.replace(" ", "-"), "--help"])
    assert (nested.exit_code, flat.exit_code) == (0, 0)
    assert nested.output.splitlines()[1:] == flat.output.splitlines()[1:]
    for option in ("--output", "--url"):
        assert option in nested.output


@pytest.mark.parametrize("command", ["vm-fly", "vm-", "-list", "fly-create", "vmcreate"])
def test_what_there_is_not_is_a_usage_error(command: str) -> None:
    assert CliRunner().invoke(cli, [command]).exit_code == 2


@pytest.mark.parametrize("size_text", ["1.5", "1GB", "big", "-1", ""])
def test_a_size_is_checked_before_anything_is_sent(size_text: str) -> None:
    arguments = ["vm", "create", "--image", "i", "--cpu", "1", "--ssd", "1", "--ram", size_text]
    result = CliRunner().invoke(cli, [*arguments, "--url", "http://[::1]:1"])
    assert result.exit_code == 2
    assert "--ram" in result.output


def test_the_url_said_last_holds() -> None:
    environment = {"UCLOUD_URL": "first"}
    for arguments, url in (
        (["vm", "list"], "first"),
        (["--url", "second", "vm", "list"], "second"),
        (["--url", "second", "vm", "list", "--url", "third"], "third"),
    ):
        assert f'"{url}" is no URL' in CliRunner().invoke(cli, arguments, env=environment).output


@pytest.mark.parametrize("command", ["login", "logout", "whoami"])
def test_sessions_have_commands_of_their_own(command: str) -> None:
    assert CliRunner().invoke(cli, [command, "--help"]).exit_code == 0


def test_exit_statuses_and_variables_are_documented() -> None:
    said = CliRunner().invoke(cli, ["--help"]).output
    for words in ("  0  done", "  6  the API", "UCLOUD_CONTEXT_FILE", "UCLOUD_TOKEN"):
        assert words in said


@pytest.mark.parametrize(
    ("typed", "meant"),
    [(["vm", "lisst"], "'list'"), (["imgae"], "'image'"), (["vm", "list", "--colums", "x"], "'--columns'")],
)
def test_what_was_meant_is_said(typed: list[str], meant: str) -> None:
    result = CliRunner().invoke(cli, typed)
    assert result.exit_code == 2
    assert f"Did you mean {meant}?" in result.output


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["disk", "list"], "No such command 'disk'. There is 'vm disk'."),
        (["rule"], "No such command 'rule'. There is 'security-group rule'."),
        (["list"], "No such command 'list'."),
    ],
)
def test_what_stands_under_another_noun_is_said_to_be_there(typed: list[str], said: str) -> None:
    result = CliRunner().invoke(cli, typed)
    assert (result.exit_code, result.output.splitlines()[-1]) == (2, f"Error: {said}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["vm", "create", "web", "--name", "db", "--image", "i", "--cpu", "1", "--ram", "1", "--ssd", "1"],
        ["vm", "resize", "web"],
        ["vm", "watch", "web", "--owner", "ann"],
        ["image", "create", "--file", "x"],
        ["image", "set", "debian"],
        ["host", "set", "h1"],
        ["user", "create"],
        ["user", "create", "ann", "--unlimited", "--cpu", "1"],
        ["user", "set", "ann"],
        ["vm", "list", "--columns", ","],
        ["vm", "list", "--columns", "NAME,WHAT"],
        ["vm", "list", "--sort", "WHAT"],
        ["vm", "list", "--columns", "NAME", "-o", "json"],
        ["completion", "csh"],
        ["network", "create"],
        ["network", "set", "lan"],
        ["vm", "attach", "web"],
        ["vm", "attach", "web", "ipv6=::1"],
        ["vm", "attach", "web", "lan,speed=fast"],
        ["vm", "attach", "web", "lan,prefixes=many"],
        ["vm", "create", "--image", "i", *SPECS, "--network", ",ipv4"],
        ["vm", "create", "--image", "i", *SPECS, "--ssh-key", "@/nonexistent"],
        ["vm", "create", "--image", "i", *SPECS, "--ssh-key", "a", "--no-ssh-keys"],
        ["vm", "create", "--image", "i", *SPECS, "--user-data", "/nonexistent"],
        ["security-group", "rule", "add", "web", "--port", "http"],
        ["security-group", "rule", "add", "web", "--protocol", "sctp"],
        ["user", "ssh-key", "add", "laptop", "/nonexistent"],
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_sent(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli, arguments, env={"UCLOUD_URL": "http://[::1]:1"}).exit_code == 2


def complete(words: str, shell: str = "bash", current: str = "") -> list[str]:
    environment = {
        "_UCLOUD_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": f"ucloud {words} {current}".strip(),
        "COMP_CWORD": str(len(words.split()) + 1),
    }
    result = CliRunner().invoke(cli, env=environment, prog_name="ucloud", complete_var="_UCLOUD_COMPLETE")
    assert result.exit_code == 0
    return [line.removeprefix("plain,") for line in result.output.splitlines() if line]


def test_commands_options_states_and_columns_are_completed() -> None:
    assert complete("vm", current="re") == ["reboot", "rename", "resize", "resume"]
    assert "--columns" in complete("vm list", current="--c")
    assert complete("vm list --status", current="S") == ["STARTING", "SUSPENDED", "STOPPING", "STOPPED"]
    assert complete("vm list --columns", current="NAME,S") == ["NAME,STATUS", "NAME,SSD"]
    assert complete("host-set h1 --state", current="d") == ["draining", "disabled"]


def test_names_are_completed_silently_or_not_at_all() -> None:
    assert complete("--url http://[::1]:1 vm stop") == []
    assert complete("--url nonsense vm stop") == []
    assert complete("--context nobody vm stop") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_a_script(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert f"_UCLOUD_COMPLETE={shell}_complete" in result.output


@pytest.mark.parametrize(
    ("typed", "port"),
    [
        ("lan", {"network": "lan"}),
        ("lan,ipv4", {"network": "lan", "ipv4": True}),
        (
            "lan,ipv4=10.0.0.5,ipv6=fd00::5,group=web,group=db,prefixes=2",
            {"network": "lan", "ipv4": "10.0.0.5", "ipv6": "fd00::5", "security_groups": ["web", "db"], "prefixes": 2},
        ),
    ],
)
def test_a_port_is_typed_in_one_word(typed: str, port: dict[str, object]) -> None:
    assert PLUG.convert(typed, None, None) == port


def test_a_port_is_completed_word_by_word() -> None:
    assert complete("vm create --network", current="lan,ip") == ["lan,ipv4", "lan,ipv4=", "lan,ipv6="]
    assert complete("security-group rule add web --protocol", current="t") == ["tcp"]
    assert complete("--url http://[::1]:1 vm create --ssh-key") == []


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"direction": "in", "protocol": "any"}, "in any from anywhere"),
        ({"direction": "in", "protocol": "tcp", "first_port": 80, "last_port": 80}, "in tcp 80 from anywhere"),
        (
            {"direction": "out", "protocol": "udp", "first_port": 1, "last_port": 9, "prefix": "::/0"},
            "out udp 1-9 to ::/0",
        ),
        ({"direction": "in", "protocol": "icmp", "group": "u"}, "in icmp from group web"),
        ({"direction": "in", "protocol": "icmp", "group": "v"}, "in icmp from group v"),
    ],
)
def test_a_rule_in_words(rule: dict[str, object], words: str) -> None:
    nothing = dict.fromkeys(("first_port", "last_port", "prefix", "group"))
    assert rule_text({**nothing, **rule}, {"u": "web"}) == words
