"""What is rendered for pf: a golden file, what it refuses, and pf's own word where there is a pfctl."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.unit.ucloud_firewall.policies import by_hand, policies, vouched
from ucloud_firewall.pf import PfRenderer
from ucloud_firewall.rights import Need, Policy, Unsupported

GOLDEN = Path(__file__).parent / "golden"
PF = PfRenderer()


def _text(policy: Policy) -> str:
    return "".join(f"# pfctl -a {batch.target} -f -\n{batch.text}\n" for batch in PF.load(policy))


def test_a_policy_is_rendered_as_it_always_was() -> None:
    assert _text(vouched(by_hand())) == (GOLDEN / "policy.pf").read_text()


@settings(deadline=None)
@given(policies)
def test_what_pf_can_not_check_is_refused_never_left_out(policy: Policy) -> None:
    if not policy.ports:
        return
    with pytest.raises(Unsupported) as refused:
        PF.load(policy)
    assert {Need.MAC, Need.ARP, Need.ND, Need.FRAME_TYPE} <= refused.value.needs
    assert (Need.MEMBERS in refused.value.needs) is bool(policy.members)


@settings(deadline=None)
@given(policies, policies)
def test_a_change_touches_the_anchors_that_differ_alone(before: Policy, after: Policy) -> None:
    before, after = vouched(before), vouched(after)
    loaded = {batch.target: batch.text for batch in PF.load(before)}
    changes = {batch.target: batch.text for batch in PF.change(before, after)}
    assert all(loaded.get(target) != text for target, text in changes.items())
    wanted = {batch.target: batch.text for batch in PF.load(after)}
    assert {target: text for target, text in {**loaded, **changes}.items() if text} == wanted


@settings(deadline=None)
@given(policies)
def test_each_anchor_speaks_of_its_own_tap_alone(policy: Policy) -> None:
    for batch in PF.load(vouched(policy)):
        tap = batch.target.removeprefix("ucloud/")
        assert all(f" on {tap} " in f"{line} " for line in batch.text.splitlines() if not line.startswith("table"))


@pytest.mark.skipif(shutil.which("pfctl") is None, reason="pf is of BSD: there is no pfctl on this machine")
def test_pf_takes_it() -> None:
    for batch in PF.load(vouched(by_hand())):
        subprocess.run(["pfctl", "-n", "-f", "-"], input=batch.text, text=True, check=True)
