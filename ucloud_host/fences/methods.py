"""The setting `fence.methods`: which fences must say yes together. Pure."""

from collections.abc import Sequence

from common.errors import ConfigurationError

SELF, MANUAL, STORAGE, POWER = "self", "manual", "storage", "power"

ORDER = (SELF, MANUAL, STORAGE, POWER)
"""In which they are asked: those that only think, the one that looks, and last the one that does harm."""

AT_ONCE = frozenset({SELF, MANUAL})
"""Those that answer without asking anybody."""

HARMFUL = frozenset({STORAGE, POWER})
"""Those that take something from the host."""

Alternatives = tuple[tuple[str, ...], ...]
"""The first of which all say yes counts. Each is in the order in which its fences are asked."""


def parse(methods: Sequence[str]) -> Alternatives:
    """The alternatives of `("self+storage", "manual")`; ConfigurationError names what is not a fence."""
    return tuple(_parse_one(method) for method in methods)


def _parse_one(method: str) -> tuple[str, ...]:
    names = {name.strip() for name in method.split("+")}
    if unknown := sorted(names.difference(ORDER)):
        raise ConfigurationError(f"fence.methods: {method!r}: {unknown[0]!r} is none of {', '.join(ORDER)}")
    return tuple(sorted(names, key=ORDER.index))
