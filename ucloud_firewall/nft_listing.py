"""What nft says is in the tables, as JSON, turned into what the renderer says should be there. Pure."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address
from typing import Any

from ucloud_firewall.nft import CHAINS, MEMBER_SETS, OF_BRIDGES, Content, Elements
from ucloud_firewall.nft_static import FAMILIES, TABLE, VERSION

Listing = Iterable[Mapping[str, Any]]
"""The objects of `nft --json list ruleset`, or of parts of it."""
_NUMBERS = ("nd", "nd_mac")
"""Sets whose keys are octets of a packet without a type."""
SEAL = "seal_"
"""Begins the name of an empty chain that says, after a load, what the rules looked like in a listing."""


def is_complete(listing: Listing) -> bool:
    """Whether all tables are there, with these very rules in them, as they were loaded."""
    listing = list(listing)
    chains = {(chain["family"], chain["name"]) for chain in _of_ours(listing, "chain")}
    return {(family, VERSION) for family in FAMILIES} <= chains and ("bridge", fingerprint(listing)) in chains


def fingerprint(listing: Listing) -> str:
    """The name of the chain that seals the rules and the bases of the chains; permissions' chains are left out."""
    seen = []
    for kind in ("chain", "rule"):
        for found in _of_ours(listing, kind):
            name = found["chain" if kind == "rule" else "name"]
            if not name.startswith((*CHAINS, SEAL)):
                seen.append(_without_handles(found))
    return SEAL + hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:12]


def content_of(listing: Listing) -> Content:
    """What there is besides the rules that never change. Of the chains, the names alone."""
    listing = list(listing)
    elements: Elements = {}
    for found in (*_of_ours(listing, "set"), *_of_ours(listing, "map")):
        if "dynamic" not in found.get("flags", ()):  # the kernel's own
            elements[found["name"]] = dict(_element(found["name"], each) for each in found.get("elem", ()))
    chains = {chain["name"]: "" for chain in _of_ours(listing, "chain") if chain["name"].startswith(CHAINS)}
    sets = frozenset(name for name in elements if name.startswith(tuple(MEMBER_SETS)))
    return Content(elements, chains, sets)


def taps(content: Content) -> frozenset[str]:
    """The taps that may send or receive anything."""
    keys = (*content.elements.get("leaving", {}), *content.elements.get("arriving", {}))
    return frozenset(key.strip('"') for key in keys)


def with_taps(wanted: Content, found: Content, kept: frozenset[str]) -> Content:
    """`wanted`, and what `found` has of the taps that are kept: with the chains, members and bridges of all."""
    prefixes = tuple(f'"{tap}"' for tap in kept)
    elements: Elements = {name: dict(keys) for name, keys in wanted.elements.items()}
    for name, keys in found.elements.items():
        for key, value in keys.items():
            if key.startswith(prefixes) or name in OF_BRIDGES or name in found.sets - wanted.sets:
                elements.setdefault(name, {}).setdefault(key, value)
    return Content(elements, {**found.chains, **wanted.chains}, found.sets | wanted.sets)


def counts(listing: Listing) -> dict[str, int]:
    """By interface: the frames that the elements of a set counted."""
    listing, found = list(listing), {}
    for each in (*_of_ours(listing, "set"), *_of_ours(listing, "map")):
        for element in each.get("elem", ()):
            key = element[0] if isinstance(element, list) else element
            if isinstance(key, dict) and "counter" in key.get("elem", ()):
                found[str(key["elem"]["val"])] = int(key["elem"]["counter"]["packets"])
    return found


def named_counters(listing: Listing) -> dict[str, int]:
    """The frames that the counters with names counted."""
    return {each["name"]: int(each["packets"]) for each in _of_ours(listing, "counter")}


def _of_ours(listing: Listing, kind: str) -> list[Mapping[str, Any]]:
    found = (each[kind] for each in listing if kind in each)
    return [each for each in found if each.get("table") == TABLE and each["family"] in FAMILIES]


def _element(name: str, element: Any) -> tuple[str, str]:
    key, value = element if isinstance(element, list) else (element, None)
    if isinstance(key, dict) and "elem" in key:
        key = key["elem"]["val"]
    parts = key["concat"] if isinstance(key, dict) and "concat" in key else [key]
    return " . ".join(_part(name, each) for each in parts), _value(value)


def _part(name: str, part: Any) -> str:
    """A part of a key, as the renderer writes it."""
    if isinstance(part, dict):
        return f"{IPv6Address(part['prefix']['addr'])}/{part['prefix']['len']}"
    if name in _NUMBERS and (isinstance(part, int) or part.startswith("0x")):
        return f"{part if isinstance(part, int) else int(part, 16):#x}"
    if ":" in part and part.count(":") != 5:
        return str(IPv6Address(part))
    is_name = part.startswith(("tap", "ucbr"))
    return f'"{part}"' if is_name else str(part)


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        (verb, detail), *_ = value.items()
        return f"{verb} {detail['target']}" if detail else verb
    return str(value)


def _without_handles(found: Any) -> Any:
    """An object of a listing without what differs from load to load."""
    if isinstance(found, dict):
        return {
            key: _without_handles(value) for key, value in found.items() if key not in ("handle", "packets", "bytes")
        }
    return [_without_handles(each) for each in found] if isinstance(found, list) else found
