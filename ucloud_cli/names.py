"""Names that a user may have meant. Pure."""

from collections.abc import Iterable
from difflib import get_close_matches

_MOST_TOLD = 10


def near(name: str, names: Iterable[str]) -> str:
    """What to say behind an unknown name: the ones like it, or a few of those there are."""
    known = sorted(set(names))
    like = get_close_matches(name, known, n=3) or [each for each in known if each.startswith(name[:2])][:3]
    if like:
        return f"; did you mean {' or '.join(like)}?"
    if known and len(known) <= _MOST_TOLD:
        return f"; there is {', '.join(known)}" if len(known) == 1 else f"; there are {', '.join(known)}"
    return ""
