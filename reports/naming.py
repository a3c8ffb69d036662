"""Names that tell rows, classes and series apart, in as many characters as there is room for.

What a chart draws goes by a key; these are only what a reader sees of it. Two that read alike would
still be taken for one.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

MAX_TITLE, MAX_LABEL, MAX_BRIEF = 60, 30, 14  # characters
LEAST_HEAD = 4  # characters of a shortened name's beginning, where room is short


class Names(NamedTuple):
    """What something is called: in full, in a sentence, in a chart and in a narrow chart."""

    full: str
    title: str
    label: str
    brief: str


def name_apart(items: Sequence[Sequence[str]]) -> list[Names]:
    """Return names for items, no two alike in any length.

    An item is its name and what else is known of it, the most telling first: a model, its run. What
    follows the name is only said where it tells items of one name apart.
    """
    full = _join_telling(items)
    shorter = [_shorten(full, most) for most in (MAX_TITLE, MAX_LABEL, MAX_BRIEF)]
    return [Names(*each) for each in zip(full, *shorter, strict=True)]


def _join_telling(items: Sequence[Sequence[str]]) -> list[str]:
    """Return each item's name, with as much of the rest as tells it from others of that name."""
    names = [item[0] for item in items]
    for depth in range(1, max(map(len, items), default=0)):
        alike: dict[str, set[str]] = {}
        for name, item in zip(names, items, strict=True):
            alike.setdefault(name, set()).add(item[depth])
        for i, item in enumerate(items):
            if len(alike[names[i]]) > 1:
                names[i] = f"{names[i]} · {item[depth]}"
    return _number(names, max(map(len, names), default=0) + LEAST_HEAD * len(str(len(names))))


def _shorten(names: Sequence[str], most: int) -> list[str]:
    """Return each name in at most so many characters; what is alike at its beginning keeps its end.

    The names themselves differ.
    """
    cut = [name if len(name) <= most else f"{name[: most - 1]}…" for name in names]
    counts = Counter(cut)
    head = max(LEAST_HEAD, most // 3)
    for i, name in enumerate(names):
        if counts[cut[i]] > 1 and len(name) > most:
            cut[i] = f"{name[:head]}…{name[head + 1 - most :]}"
    return _number(cut, most)


def _number(names: Sequence[str], most: int) -> list[str]:
    """Return the names, later ones of equal names with a number within so many characters."""
    taken: set[str] = set(names)
    seen: set[str] = set()
    numbered = []
    for name in names:
        number, unlike = 1, name
        while unlike in seen or (number > 1 and unlike in taken):
            number += 1
            suffix = f" ({number})"
            unlike = f"{name[: most - len(suffix)]}{suffix}"
        seen.add(unlike)
        numbered.append(unlike)
    return numbered
