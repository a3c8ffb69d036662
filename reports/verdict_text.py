"""What the page says in words.

The verdict at its head, and the warnings beside the numbers that they concern.
"""

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from bench.results.interval import MOST_SEEDS, Estimate, seeds_needed
from bench.results.verdict import NOISE_THRESHOLD
from reports.column import show, show_column
from reports.pairs import SPEEDS, Floor, Pair, Pairs, is_finite
from reports.ranking import Entry, Group, best_first, has_interval, pareto_front

ENDINGS = {
    "oom": "out of memory",
    "diverged": "diverged",
    "failed": "failed",
    "interrupted": "interrupted",
    "started": "still going on",
}
MAX_NAMES = 6


def estimate_text(number: Estimate, key: str) -> str:
    """A number with its interval: `36.0 % (34.9 to 37.1)`."""
    return show_column(number.value, key) + (
        f" ({interval_text(number, key)})" if has_interval(number) else ""
    )


def interval_text(number: Estimate, key: str) -> str:
    """An interval without units: `34.9 to 37.1`."""
    from reports.column import BY_KEY

    kind = BY_KEY[key].kind
    return f"{show(number.low, kind)} to {show(number.high, kind)}"


def list_models(entries: Sequence[Entry], most: int = MAX_NAMES) -> Markup:
    """Names in a row, the last ones counted where there are many."""
    bold = [Markup("<b>{}</b>").format(entry.model) for entry in entries[:most]]
    if len(entries) > most:
        bold.append(Markup("{} more").format(len(entries) - most))
    return Markup(" and ").join([Markup(", ").join(bold[:-1]), bold[-1]] if len(bold) > 1 else bold)


def verdict_of(group: Group, top1: Pairs, speed: Pairs) -> list[Markup]:
    """Sentences that answer which model to take, and what can't be told apart."""
    finished = [entry for entry in group.entries if entry.finished]
    if len(finished) == 1:
        return [_alone(finished[0]), *_unfinished(group)]
    sentences = [
        *_most_accurate(group, top1),
        *_fastest(group, speed),
        *_front(group),
        *_unfinished(group),
    ]
    return sentences or [Markup("Nothing was measured.")]


def _alone(entry: Entry) -> Markup:
    """What there is to say of a model that nothing is held against."""
    known = [
        (key, words)
        for key, words in (("top1", "top-1"), (SPEEDS[0], "in training"))
        if key in entry.numbers
    ]
    found = ", ".join(f"{estimate_text(entry.numbers[key], key)} {words}" for key, words in known)
    text = Markup("<b>{}</b> alone").format(entry.model)
    return (
        text
        + (f": {found}; " if found else ": ")
        + "a verdict needs another model in the same run."
    )


def _most_accurate(group: Group, pairs: Pairs) -> Iterator[Markup]:
    rows = best_first(group, "top1")
    if not rows:
        return
    best = rows[0]
    text = Markup("Most accurate: <b>{}</b> with {} top-1").format(
        best.model, estimate_text(best.numbers["top1"], "top1")
    )
    equals = [entry for entry in rows[1:] if _equal(best, entry, pairs)]
    if equals:
        text += Markup("; it can't be told apart from {}").format(
            list_models(equals)
        ) + _seeds_to_tell(best, equals[0])
    elif len(rows) > 1:
        text += _points_above(best, rows[1], pairs)
    yield text + "."


def _seeds_to_tell(best: Entry, entry: Entry) -> str:
    """How many seeds would tell two rows apart, as far as the seeds that there are can say."""
    ours, theirs = (
        [c.record.accuracy.top1 for c in e.finished if c.record.accuracy] for e in (best, entry)
    )
    seeds = seeds_needed(ours, theirs)
    if seeds is None:
        return ""
    return (
        f" (about {seeds} seeds each would be needed)"
        if seeds < MOST_SEEDS
        else " (no number of seeds would do)"
    )


def _points_above(best: Entry, next_best: Entry, pairs: Pairs) -> Markup:
    pair = pairs.get(best.key, {}).get(next_best.key)
    back = pairs.get(next_best.key, {}).get(best.key)
    lead = best.numbers["top1"].value - next_best.numbers["top1"].value
    same_images = (
        f" ({back.low:.1f} to {back.high:.1f} on the same images)" if pair and back else ""
    )
    return Markup(", {} points above {}{}").format(
        f"{lead:.1f}", list_models([next_best]), same_images
    )


def _equal(best: Entry, entry: Entry, pairs: Pairs) -> bool:
    pair = pairs.get(best.key, {}).get(entry.key)
    if pair is not None:
        return pair.judgement == "undecided"
    return entry.numbers["top1"].high >= best.numbers["top1"].low


def _fastest(group: Group, pairs: Pairs) -> Iterator[Markup]:
    rows = best_first(group, SPEEDS[0])
    if not rows:
        return
    best = rows[0]
    text = Markup("Fastest to train: <b>{}</b> with {}").format(
        best.model, estimate_text(best.numbers[SPEEDS[0]], SPEEDS[0])
    )
    if len(rows) > 1:
        text += _lead(best, rows[1:], pairs)
    yield text + "."


def _lead(best: Entry, rest: Sequence[Entry], pairs: Pairs) -> Markup:
    held = [(entry, pairs.get(entry.key, {}).get(best.key)) for entry in rest]
    equals = [entry for entry, pair in held if pair and _may_be_one(pair)]
    if equals:
        return Markup("; the difference to {} is within the noise").format(list_models(equals))
    entry, pair = held[0]
    if pair is None or not is_finite(pair):
        return Markup("; next {} (not measured in the same rounds)").format(list_models([entry]))
    doubt = " (in too few rounds to prove it)" if pair.judgement == "undecided" else ""
    return Markup(", {} times as fast as {}{}").format(
        f"{pair.value:.2f}", list_models([entry]), doubt
    )


def _may_be_one(ratio: Pair) -> bool:
    """Whether a ratio's interval says that both are as fast, or at least doesn't say otherwise."""
    return ratio.judgement == "same" or (is_finite(ratio) and ratio.low <= 1 <= ratio.high)


def _front(group: Group) -> Iterator[Markup]:
    front = pareto_front(group, SPEEDS[0], higher=True)
    measured = [
        entry for entry in group.entries if "top1" in entry.numbers and SPEEDS[0] in entry.numbers
    ]
    if len(measured) < 2:
        return
    if len(front) == 1:
        yield Markup("{} is both the most accurate and the fastest to train.").format(
            list_models(front)
        )
    elif len(front) == len(measured):
        yield Markup("Each of them trades accuracy for training speed: none beats another in both.")
    else:
        yield Markup(
            "Take one of {}: every other model loses to one of these in both accuracy and training speed."
        ).format(list_models(front))


def _unfinished(group: Group) -> Iterator[Markup]:
    rows = [entry for entry in group.entries if not entry.finished]
    if rows:
        causes = Markup(", ").join(
            Markup("<b>{}</b> ({})").format(e.model, ENDINGS[e.record.status])
            for e in rows[:MAX_NAMES]
        )
        more = f" and {len(rows) - MAX_NAMES} more" if len(rows) > MAX_NAMES else ""
        yield Markup("Without a result: {}{}.").format(causes, more)


def noise_sentence(floor: Floor) -> str:
    """The noise floor in one sentence."""
    ratio = floor.ratio
    low, high = f"{ratio.low:.3f}", f"{ratio.high:.3f}"
    inside = ratio.low >= 1 / (1 + NOISE_THRESHOLD) and ratio.high <= 1 + NOISE_THRESHOLD
    end = (
        "so differences above 2 % can be believed"
        if inside
        else "so small differences here prove nothing"
    )
    if not is_finite(ratio):
        return f"{floor.model} against itself: {ratio.value:.3f} times as fast, in too few rounds for an interval"
    claimed = f"; a third of the rounds would have claimed a winner in {floor.claims} of {floor.windows} cases"
    return (
        f"{floor.model} against itself: {ratio.value:.3f} times as fast ({low} to {high}), {end}"
        + (claimed if floor.windows else "")
    )
