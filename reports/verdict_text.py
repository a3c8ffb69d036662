"""What the page says in words: the verdict at its head, and how sure that is."""

import math
from collections.abc import Iterator, Sequence

from markupsafe import Markup, escape

from bench.results.interval import Estimate
from bench.results.power import seeds_needed
from bench.results.verdict import NOISE_THRESHOLD
from reports.column import BY_KEY, format_figure, format_value
from reports.disturbance import describe_disturbances, is_disturbed
from reports.estimate import has_interval
from reports.pairs import SIGNIFICANCE, SPEEDS, Floor, Pair, Pairs, is_finite
from reports.ranking import Entry, Group, best_first, pareto_front

TRAIN_RATE = SPEEDS[0]
ENDINGS = {
    "oom": "out of memory",
    "diverged": "diverged",
    "failed": "failed",
    "interrupted": "interrupted",
    "started": "still running",
}
MAX_NAMES = 6  # in one sentence; the rest is counted


def estimate_text(number: Estimate, key: str) -> str:
    """Return a number of a column with its interval: `36.0 % (34.9 to 37.1)`."""
    text = format_figure(number.value, key)
    return f"{text} ({interval_text(number, key)})" if has_interval(number) else text


def interval_text(number: Estimate, key: str) -> str:
    """Return an interval of a column without units: `34.9 to 37.1`."""
    kind = BY_KEY[key].kind
    return f"{format_value(number.low, kind)} to {format_value(number.high, kind)}"


def list_models(entries: Sequence[Entry]) -> Markup:
    """Return the models' names in a row, the last ones only counted if there are many."""
    # Names come from files that anybody may have written: Markup escapes what it formats.
    names = [Markup("<b>{}</b>").format(entry.name) for entry in entries[:MAX_NAMES]]
    if len(entries) > MAX_NAMES:
        names.append(Markup("{} more").format(len(entries) - MAX_NAMES))
    if len(names) < 2:
        return Markup("").join(names)
    return Markup(", ").join(names[:-1]) + " and " + names[-1]


def verdict_of(group: Group, top1: Pairs, speed: Pairs) -> list[Markup]:
    """Return the sentences that say which model to take, and which can't be told apart."""
    finished = [entry for entry in group.entries if entry.finished]
    # A superlative needs another model.
    if len(finished) == 1:
        first = map(escape, _said_first(group))
        return [*first, _describe_single(finished[0]), *_unfinished(group)]
    sentences = [
        *map(escape, _said_first(group)),
        *_most_accurate(group, top1),
        *_neighbours(group),
        *_fastest(group, speed),
        *_choice(group),
        *_unfinished(group),
    ]
    return sentences or [Markup("Nothing was measured.")]


def _said_first(group: Group) -> list[str]:
    """Return what comes before any verdict: what other processes did meanwhile."""
    found = describe_disturbances(group.entries)
    sentences = [f"{text[0].upper()}{text[1:]}." for text in found[:MAX_NAMES]]
    if len(found) > MAX_NAMES:
        sentences.append(f"So were {len(found) - MAX_NAMES} more cells disturbed.")
    return sentences


def _describe_single(entry: Entry) -> Markup:
    """Return the sentence on a model that there is nothing to compare with."""
    found = []
    for key, words in (("top1", "top-1"), (TRAIN_RATE, "in training")):
        if key in entry.numbers:
            found.append(f"{estimate_text(entry.numbers[key], key)} {words}")
    text = Markup("<b>{}</b> alone: ").format(entry.name)
    if found:
        text += ", ".join(found) + "; "
    return text + "a verdict needs another model in the same run."


def _most_accurate(group: Group, pairs: Pairs) -> Iterator[Markup]:
    rows = best_first(group, "top1")
    if not rows:
        return
    best, *others = rows
    accuracy = estimate_text(best.numbers["top1"], "top1")
    text = Markup("Most accurate: <b>{}</b> with {} top-1").format(best.name, accuracy)
    equals = [entry for entry in others if _is_as_accurate(best, entry, pairs)]
    if equals:
        text += Markup("; it can't be told apart from {}").format(list_models(equals))
        text += _seeds_to_tell(best, equals[0], pairs)
    elif others:
        second = others[0]
        lead = best.numbers["top1"].value - second.numbers["top1"].value
        text += Markup(", {} points above {}").format(f"{lead:.1f}", list_models([second]))
        # Of the paired difference, which is narrower than the intervals of the two accuracies.
        pair = pairs.get(second.key, {}).get(best.key)
        if pair:
            text += f" ({pair.low:.1f} to {pair.high:.1f} on the same images)"
    yield text + "."


def _neighbours(group: Group) -> Iterator[Markup]:
    """Yield how much of the order by top-1 is proven, where that is more than one pair."""
    num_pairs = len(group.standings.rows) - 1
    if num_pairs < 2:
        return
    inseparable = group.standings.num_inseparable or "none"
    tiers = max(standing.tier for standing in group.standings.rows.values())
    yield Markup("Of {} neighbouring pairs by top-1, {} can't be told apart ({} tier{}).").format(
        num_pairs, inseparable, tiers, "s" if tiers > 1 else ""
    )


def _is_as_accurate(best: Entry, entry: Entry, pairs: Pairs) -> bool:
    """Return whether a row's accuracy may be the best one's.

    Rows that weren't tested on the same images are only compared by their intervals.
    """
    pair = pairs.get(best.key, {}).get(entry.key)
    if pair is not None:
        return pair.judgement == "undecided"
    return entry.numbers["top1"].high >= best.numbers["top1"].low


def _seeds_to_tell(best: Entry, entry: Entry, pairs: Pairs) -> str:
    """Return how many seeds would tell two rows apart, empty if their seeds can't say."""
    # Without a pair they weren't tested on the same images.
    if entry.key not in pairs.get(best.key, {}):
        return ""
    seeds = seeds_needed(best.correct, entry.correct, SIGNIFICANCE / _num_undecided(pairs))
    if seeds is None:
        return ""
    if math.isinf(seeds):
        return " (no number of seeds would do on so few test images)"
    return f" (about {seeds} seeds each would be needed)"


def _num_undecided(pairs: Pairs) -> int:
    """Count the pairs that aren't told apart: for so many Holm adjusts the next one that is."""
    found = 0
    for rows in pairs.values():
        found += sum(pair.judgement == "undecided" for pair in rows.values())
    return found // 2  # each pair is there from either side


def _fastest(group: Group, pairs: Pairs) -> Iterator[Markup]:
    rows = best_first(group, TRAIN_RATE)
    # The head's first sentence says why none is.
    if not rows or any(is_disturbed(entry, TRAIN_RATE) for entry in rows):
        return
    best, *others = rows
    rate = estimate_text(best.numbers[TRAIN_RATE], TRAIN_RATE)
    text = Markup("Fastest to train: <b>{}</b> with {}").format(best.name, rate)
    if others:
        text += _times_as_fast(best, others, pairs)
    yield text + "."


def _times_as_fast(best: Entry, others: Sequence[Entry], pairs: Pairs) -> Markup:
    """Return how far the fastest row is ahead of the others, the next one first."""
    ratios = [pairs.get(entry.key, {}).get(best.key) for entry in others]
    compared = zip(others, ratios, strict=True)
    # Not only the next one: a wide interval further down may reach 1 as well.
    equals = [entry for entry, ratio in compared if ratio and _may_be_equal(ratio)]
    if equals:
        return Markup("; the difference from {} is within the noise").format(list_models(equals))
    second, ratio = list_models(others[:1]), ratios[0]
    if ratio is None:
        return Markup("; next is {} (not measured in the same rounds)").format(second)
    if not is_finite(ratio):
        return Markup("; next is {} (in too few rounds for an interval)").format(second)
    doubt = " (in too few rounds to prove it)" if ratio.judgement == "undecided" else ""
    return Markup(", {} times as fast as {}{}").format(f"{ratio.value:.2f}", second, doubt)


def _may_be_equal(ratio: Pair) -> bool:
    """Return whether two rows may be equally fast: judged the same, or 1 is in the interval."""
    return ratio.judgement == "same" or (is_finite(ratio) and ratio.low <= 1 <= ratio.high)


def _choice(group: Group) -> Iterator[Markup]:
    """Yield the sentence on the models that no other beats in both accuracy and speed."""
    measured = [entry for entry in best_first(group, "top1") if TRAIN_RATE in entry.numbers]
    if len(measured) < 2 or any(is_disturbed(entry, TRAIN_RATE) for entry in measured):
        return
    # By values, not intervals: with overlaps allowed, nearly every model would be on the front.
    front = pareto_front(group, TRAIN_RATE, higher=True)
    models = list_models(front)
    if len(front) == 1:
        yield Markup("{} is both the most accurate and the fastest to train.").format(models)
    elif len(front) == len(measured):
        yield Markup("Every model trades accuracy for training speed: none beats another in both.")
    else:
        yield Markup(
            "Choose among {}: every other model is beaten by one of these "
            "in both accuracy and training speed."
        ).format(models)


def _unfinished(group: Group) -> Iterator[Markup]:
    rows = [entry for entry in group.entries if not entry.finished]
    if not rows:
        return
    causes = [
        Markup("<b>{}</b> ({})").format(entry.name, ENDINGS[entry.record.status])
        for entry in rows[:MAX_NAMES]
    ]
    more = f" and {len(rows) - MAX_NAMES} more" if len(rows) > MAX_NAMES else ""
    yield Markup("Without a result: {}{}.").format(Markup(", ").join(causes), more)


def noise_sentence(floor: Floor) -> str:
    """Return the noise floor in one sentence, and what it means for small differences."""
    ratio = floor.ratio
    text = f"{floor.model} against itself: {ratio.value:.3f} times as fast"
    # With fewer than MIN_VALUES rounds there is no interval, and so nothing to conclude.
    if not is_finite(ratio):
        return f"{text}, in too few rounds for an interval"
    text += f" ({ratio.low:.3f} to {ratio.high:.3f})"
    if ratio.judgement == "same":
        text += f", so differences above {100 * NOISE_THRESHOLD:.0f} % can be trusted"
    else:
        text += ", so small differences prove nothing here"
    if floor.windows:
        text += (
            "; a third of the rounds would have declared a winner "
            f"in {floor.claims} of {floor.windows} cases"
        )
    return text
