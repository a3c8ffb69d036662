"""One model trained in several ways: rows that aren't ranked together, held against each other.

What differs is how it learnt; the test images are the same. So the paired difference in top-1 is as
honest as between two models, and says what the other way brings. Times aren't compared.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from bench.results.setting import DATA, LEARNING, Setting
from reports.pairs import Pair, compare_top1
from reports.ranking import Entry

MOST = 40  # pairs that are shown


@dataclass(frozen=True)
class Retrained:
    """A row and one of the same model that learnt otherwise, and how far it is above that.

    `differences` are the settings in which they differ: label, the row's value, the other's.
    """

    entry: Entry
    other: Entry
    pair: Pair
    differences: tuple[tuple[str, str, str], ...]

    @property
    def ways(self) -> tuple[str, str]:
        """Return how each of them learnt, as far as they differ."""
        own = ", ".join(f"{label}: {value}" for label, value, _ in self.differences)
        return own, ", ".join(f"{label}: {value}" for label, _, value in self.differences)


def compare_ways(entries: Sequence[Entry]) -> list[Retrained]:
    """Return each pair of rows of one model that learnt in two ways, the better one first.

    A pair is proven if its p, adjusted for all of these pairs (Holm 1979), is significant.
    """
    pairs = list(_pairs_of(entries))[:MOST]
    judged = compare_top1([(entry, other) for entry, other, _ in pairs])
    found = []
    for (entry, other, differences), pair in zip(pairs, judged, strict=True):
        found.append(Retrained(entry, other, pair, differences))
    return found


def describe_ways(found: Sequence[Retrained]) -> Iterator[str]:
    """Yield a sentence for each pair: `lenet5 gains 1.2 points (…) by what is trained: …`."""
    for each in found:
        pair = each.pair
        doubt = ", not proven" if pair.judgement == "undecided" else ""
        changes = [f"{label}: {own} instead of {other}" for label, own, other in each.differences]
        yield (
            f"{each.entry.model} gains {pair.value:.1f} points of top-1 ({pair.low:.1f} to "
            f"{pair.high:.1f}{doubt}) by {', '.join(changes)}"
        )


def _pairs_of(
    entries: Sequence[Entry],
) -> Iterator[tuple[Entry, Entry, tuple[tuple[str, str, str], ...]]]:
    tested = [entry for entry in entries if entry.correct.size]
    tested.sort(key=lambda entry: -entry.numbers["top1"].value)
    for entry, other in combinations(tested, 2):
        if entry.model != other.model or not _saw_the_same(entry, other):
            continue
        differences = tuple(
            (setting.label, _text(setting, entry), _text(setting, other))
            for setting in LEARNING
            if entry.rules[setting.name] != other.rules[setting.name]
        )
        if differences:
            yield entry, other, differences


def _saw_the_same(entry: Entry, other: Entry) -> bool:
    """Return whether two rows learnt from the same images and were tested on the same."""
    if any(entry.rules[setting.name] != other.rules[setting.name] for setting in DATA):
        return False
    return np.array_equal(entry.labels, other.labels)


def _text(setting: Setting, entry: Entry) -> str:
    value = entry.rules[setting.name]
    return setting.unset if value in (None, "") else str(value)
