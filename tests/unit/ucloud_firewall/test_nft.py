"""What is rendered for nftables: a golden file, and laws that hold for any policy."""

import re
from pathlib import Path

from hypothesis import given, settings

from tests.unit.ucloud_firewall.policies import by_hand, policies
from ucloud_firewall import nft_static
from ucloud_firewall.nft import Content, NftRenderer, content_of, delta
from ucloud_firewall.rights import Policy

GOLDEN = Path(__file__).parent / "golden"
NFT = NftRenderer()


def _apply(content: Content, commands: str) -> Content:
    """What the kernel makes of the commands; it refuses what refers to nothing."""
    elements = {name: dict(keys) for name, keys in content.elements.items()}
    chains, sets = dict(content.chains), set(content.sets)
    for line in commands.splitlines():
        verb, what, _family, _table, name, *rest = line.split(" ", 5)
        text = rest[0] if rest else ""
        if what == "set":
            assert (name in sets) is (verb == "delete")
            (sets.add if verb == "add" else sets.remove)(name)
            if verb == "delete":
                assert not any(f"@{name} " in rules for rules in chains.values())
                elements.pop(name, None)
        elif what == "chain" and verb == "add":
            assert name not in chains
            chains[name] = ""
        elif what == "chain":
            assert not any(value == f"goto {name}" for keys in elements.values() for value in keys.values())
            del chains[name]
        elif what == "rule":
            assert all(named in sets for named in re.findall(r"@(members\S+)", text))
            chains[name] = f"{chains[name]}\n{text}".lstrip("\n")
        else:
            for each in text.removeprefix("{ ").removesuffix(" }").split(", "):
                key, _, value = each.partition(" : ")
                if verb == "delete":
                    del elements[name][key]
                else:
                    assert key not in elements.get(name, {})
                    assert not value.startswith("goto ") or value.removeprefix("goto ") in chains
                    elements.setdefault(name, {})[key] = value
    return Content({name: keys for name, keys in elements.items() if keys}, chains, frozenset(sets))


def _tidy(content: Content) -> Content:
    return Content({name: dict(keys) for name, keys in content.elements.items() if keys}, content.chains, content.sets)


def test_a_policy_is_rendered_as_it_always_was() -> None:
    (batch,) = NFT.load(by_hand())
    assert batch.text.removeprefix(nft_static.tables()) == (GOLDEN / "policy.nft").read_text()


def test_the_rules_that_never_change_are_as_they_always_were() -> None:
    assert nft_static.tables().replace(nft_static.VERSION, "VERSION") == (GOLDEN / "static.nft").read_text()


@settings(deadline=None)
@given(policies)
def test_loading_gives_the_content(policy: Policy) -> None:
    (batch,) = NFT.load(policy)
    assert _apply(Content(), batch.text.removeprefix(nft_static.tables())) == _tidy(content_of(policy))


@settings(deadline=None)
@given(policies, policies)
def test_a_change_gives_what_loading_would(before: Policy, after: Policy) -> None:
    text = "".join(batch.text for batch in NFT.change(before, after))
    assert _apply(_tidy(content_of(before)), text) == _tidy(content_of(after))


@settings(deadline=None)
@given(policies)
def test_what_is_the_same_needs_no_change(policy: Policy) -> None:
    assert NFT.change(policy, policy) == ()
    assert delta(content_of(policy), content_of(policy)) == ""


@settings(deadline=None)
@given(policies)
def test_what_a_port_may_call_itself_is_its_own(policy: Policy) -> None:
    elements = content_of(policy).elements
    for tap, port in policy.ports.items():
        for name in ("mac", "address6", "address4", "nd", "prefix6"):
            own = {key for key in elements.get(name, {}) if key.startswith(f'"{tap}"')}
            expected = {"mac": 1, "address6": 2, "nd": 2, "address4": len(port.ipv4), "prefix6": len(port.prefixes)}
            assert len(own) == expected[name]
        assert (elements["arriving"][f'"{tap}"'] == "accept") is (port.arriving is None)
        assert (elements["leaving"][f'"{tap}"'] == "accept") is (port.leaving is None)


@settings(deadline=None)
@given(policies)
def test_a_chain_of_permissions_ends_by_dropping(policy: Policy) -> None:
    for name, rules in content_of(policy).chains.items():
        way = "in" if name.startswith("to_") else "out"
        first, *_, last = rules.splitlines()
        assert (first, last) == (f"jump always_{way}", f"goto drop_{way}")
