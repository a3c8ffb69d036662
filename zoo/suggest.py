"""The nearest names to one that is unknown, for every message that refuses a name. No torch."""

import difflib
from collections.abc import Iterable

MOST_SHOWN = 40
CUTOFF = 0.5  # difflib's similarity: "quik" finds "quick", "fp8" finds "fp16", "xyz" finds nothing


def nearest(given: str, allowed: Iterable[str], num_names: int = 1) -> list[str]:
    """Return the names nearest to one, the nearest first; fewer or none where few are near."""
    return difflib.get_close_matches(given, list(allowed), n=num_names, cutoff=CUTOFF)


def did_you_mean(given: str, allowed: Iterable[str], num_names: int = 3) -> str:
    """Return `did you mean A or B?` for the names nearest to one; empty where none is near."""
    near = nearest(given, allowed, num_names)
    return f"did you mean {' or '.join(near)}?" if near else ""


def unknown(what: str, given: str, allowed: Iterable[str]) -> str:
    """Return the line that refuses an unknown name: what it was given for, and what is allowed."""
    names = list(allowed)
    hint = did_you_mean(given, names) or f"choose from {', '.join(names[:MOST_SHOWN])}"
    return f"{what}: {given!r} is unknown; {hint}"
