"""What the page says in words: the verdict at its head, and the warnings beside the numbers that they concern."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from bench.results.interval import MIN_VALUES, MOST_SEEDS, Estimate, rounds_needed, seeds_needed
from bench.results.record import Measurement
from bench.results.verdict import NOISE_THRESHOLD, pareto
from reports.column import show, show_column
from reports.condition import condition_warnings
from reports.pairs import SPEEDS, Floor, Pair, Pairs, is_finite
from reports.ranking import Entry, Group, has_interval

ENDINGS = {
    "oom": "out of memory", "diverged": "diverged", "failed": "failed", "interrupted": "interrupted",
    "started": "still going on",
}  # fmt: skip
DRIFT = 0.05  # of the median between the first and the last third of the rounds
SPREAD = 0.25  # between the quartiles, of the median
MAX_NAMES = 6


@dataclass(frozen=True)
class Warned:
    """A warning and the rows that it concerns; `column` is empty if it concerns all of a row."""

    text: str
    keys: tuple[str, ...]
    column: str = ""


def span(number: Estimate, key: str) -> str:
    """A number with its interval: `36.0 % (34.9 to 37.1)`."""
    return show_column(number.value, key) + (f" ({limits(number, key)})" if has_interval(number) else "")


def limits(number: Estimate, key: str) -> str:
    """An interval without units: `34.9 to 37.1`."""
    from reports.column import BY_KEY

    kind = BY_KEY[key].kind
    return f"{show(number.low, kind)} to {show(number.high, kind)}"


def names(entries: Sequence[Entry], most: int = MAX_NAMES) -> Markup:
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
    sentences = [*_most_accurate(group, top1), *_fastest(group, speed), *_front(group), *_unfinished(group)]
    return sentences or [Markup("Nothing was measured.")]


def _alone(entry: Entry) -> Markup:
    """What there is to say of a model that nothing is held against."""
    known = [(key, words) for key, words in (("top1", "top-1"), (SPEEDS[0], "in training")) if key in entry.numbers]
    found = ", ".join(f"{span(entry.numbers[key], key)} {words}" for key, words in known)
    text = Markup("<b>{}</b> alone").format(entry.model)
    return text + (f": {found}; " if found else ": ") + "a verdict needs another model in the same run."


def ranked(group: Group, key: str) -> list[Entry]:
    """The rows that have a number in a column where more is better, best first."""
    return sorted((e for e in group.entries if key in e.numbers), key=lambda e: -e.numbers[key].value)


def _most_accurate(group: Group, pairs: Pairs) -> Iterator[Markup]:
    rows = ranked(group, "top1")
    if not rows:
        return
    best = rows[0]
    text = Markup("Most accurate: <b>{}</b> with {} top-1").format(best.model, span(best.numbers["top1"], "top1"))
    equals = [entry for entry in rows[1:] if _equal(best, entry, pairs)]
    if equals:
        text += Markup("; it can't be told apart from {}").format(names(equals)) + _seeds_to_tell(best, equals[0])
    elif len(rows) > 1:
        text += _points_above(best, rows[1], pairs)
    yield text + "."


def _seeds_to_tell(best: Entry, entry: Entry) -> str:
    """How many seeds would tell two rows apart, as far as the seeds that there are can say."""
    ours, theirs = ([c.record.accuracy.top1 for c in e.finished if c.record.accuracy] for e in (best, entry))
    seeds = seeds_needed(ours, theirs)
    if seeds is None:
        return ""
    return f" (about {seeds} seeds each would be needed)" if seeds < MOST_SEEDS else " (no number of seeds would do)"


def _points_above(best: Entry, next_best: Entry, pairs: Pairs) -> Markup:
    pair = pairs.get(best.key, {}).get(next_best.key)
    back = pairs.get(next_best.key, {}).get(best.key)
    lead = best.numbers["top1"].value - next_best.numbers["top1"].value
    same_images = f" ({back.low:.1f} to {back.high:.1f} on the same images)" if pair and back else ""
    return Markup(", {} points above {}{}").format(f"{lead:.1f}", names([next_best]), same_images)


def _equal(best: Entry, entry: Entry, pairs: Pairs) -> bool:
    pair = pairs.get(best.key, {}).get(entry.key)
    if pair is not None:
        return pair.judgement == "undecided"
    return entry.numbers["top1"].high >= best.numbers["top1"].low


def _fastest(group: Group, pairs: Pairs) -> Iterator[Markup]:
    rows = ranked(group, SPEEDS[0])
    if not rows:
        return
    best = rows[0]
    text = Markup("Fastest to train: <b>{}</b> with {}").format(best.model, span(best.numbers[SPEEDS[0]], SPEEDS[0]))
    if len(rows) > 1:
        text += _lead(best, rows[1:], pairs)
    yield text + "."


def _lead(best: Entry, rest: Sequence[Entry], pairs: Pairs) -> Markup:
    held = [(entry, pairs.get(entry.key, {}).get(best.key)) for entry in rest]
    equals = [entry for entry, pair in held if pair and _may_be_one(pair)]
    if equals:
        return Markup("; the difference to {} is within the noise").format(names(equals))
    entry, pair = held[0]
    if pair is None or not is_finite(pair):
        return Markup("; next {} (not measured in the same rounds)").format(names([entry]))
    doubt = " (in too few rounds to prove it)" if pair.judgement == "undecided" else ""
    return Markup(", {} times as fast as {}{}").format(f"{pair.value:.2f}", names([entry]), doubt)


def _may_be_one(ratio: Pair) -> bool:
    """Whether a ratio's interval says that both are as fast, or at least doesn't say otherwise."""
    return ratio.judgement == "same" or (is_finite(ratio) and ratio.low <= 1 <= ratio.high)


def front_of(group: Group, key: str, *, higher: bool) -> list[Entry]:
    """The rows that no other beats in both top-1 and the column `key`, most accurate first."""
    rows = [entry for entry in ranked(group, "top1") if key in entry.numbers]
    sign = 1 if higher else -1
    keep = pareto([(entry.numbers["top1"].value, sign * entry.numbers[key].value) for entry in rows])
    return [entry for entry, kept in zip(rows, keep, strict=True) if kept]


def _front(group: Group) -> Iterator[Markup]:
    front = front_of(group, SPEEDS[0], higher=True)
    measured = [entry for entry in group.entries if "top1" in entry.numbers and SPEEDS[0] in entry.numbers]
    if len(measured) < 2:
        return
    if len(front) == 1:
        yield Markup("{} is both the most accurate and the fastest to train.").format(names(front))
    elif len(front) == len(measured):
        yield Markup("Each of them trades accuracy for training speed: none beats another in both.")
    else:
        yield Markup(
            "Take one of {}: every other model loses to one of these in both accuracy and training speed."
        ).format(names(front))


def _unfinished(group: Group) -> Iterator[Markup]:
    rows = [entry for entry in group.entries if not entry.finished]
    if rows:
        causes = Markup(", ").join(
            Markup("<b>{}</b> ({})").format(e.model, ENDINGS[e.record.status]) for e in rows[:MAX_NAMES]
        )
        more = f" and {len(rows) - MAX_NAMES} more" if len(rows) > MAX_NAMES else ""
        yield Markup("Without a result: {}{}.").format(causes, more)


def warnings_of(entries: Sequence[Entry]) -> list[Warned]:
    """All warnings of the page, the same ones of several rows together, in a fixed order."""
    found: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        for text, column in _warnings_of(entry):
            found.setdefault((text, column), []).append(entry.key)
    return [Warned(text, tuple(keys), column) for (text, column), keys in found.items()]


def _warnings_of(entry: Entry) -> Iterator[tuple[str, str]]:
    if not entry.finished:
        return
    if len(entry.finished) == 1 and "top1" in entry.numbers:
        yield "One seed: how far seeds of this model differ is not known, and not in the interval.", "top1"
    if entry.record.data.protocol == "published":
        yield "The test set was looked at after every epoch (protocol published).", "top1"
    yield from _about_machine(entry)
    yield from _about_rounds_needed(entry)
    for measurement in entry.measured.values():
        if measurement.metric == "fit_images_per_second":
            continue  # an epoch of a training is no round of a comparison
        yield from ((text, _column(measurement)) for text in _about_rounds(measurement))
    yield from _about_comparison(entry)


def _about_machine(entry: Entry) -> Iterator[tuple[str, str]]:
    environment = entry.record.environment
    if environment.get("git_dirty") is True:
        yield "The code had changes that are in no commit.", ""
    load, cores = environment.get("load_average"), environment.get("num_cores")
    load = load[0] if isinstance(load, list) and load else load
    if isinstance(load, (int, float)) and isinstance(cores, (int, float)) and load > cores + 0.5:
        yield f"The machine was busy when this began: load {load:.1f} on {cores:.0f} cores.", ""
    threads = environment.get("num_threads")
    if isinstance(threads, int) and isinstance(cores, int) and threads * _local_processes(entry) > cores:
        yield f"{threads} threads a process are more than the {cores} cores.", ""


def _local_processes(entry: Entry) -> int:
    """Processes of the run on one machine, where it says so; else one."""
    value = entry.record.environment.get("local_processes")
    return value if isinstance(value, int) else 1


def _about_rounds_needed(entry: Entry) -> Iterator[tuple[str, str]]:
    """Rounds that are too few to prove anything of the pairs of this comparison, and how many would do."""
    models = len(entry.run.comparison.models) if entry.run.comparison else 0
    needed = rounds_needed(models * (models - 1) // 2)
    measured = entry.measured.get(SPEEDS[0])
    if models > 1 and measured and MIN_VALUES <= len(measured.merged) < needed:
        yield (
            f"{len(measured.merged)} rounds can't prove a difference among {models} models: it takes {needed}.",
            SPEEDS[0],
        )


def _about_rounds(measurement: Measurement) -> Iterator[str]:
    values = np.asarray(measurement.merged)
    if measurement.images is not None and len(values) < MIN_VALUES:
        yield f"Fewer than {MIN_VALUES} rounds: no interval and no verdict; it takes {MIN_VALUES}."
    if len(values) < 3 * MIN_VALUES:
        return
    third = len(values) // 3
    drift = float(np.median(values[-third:]) / np.median(values[:third])) - 1
    if abs(drift) > DRIFT:
        yield "Drifted by more than 5 % between the first and the last third of the rounds."
    low, middle, high = np.percentile(values, [25, 50, 75])
    if (high - low) / middle > SPREAD:
        yield "The middle half of the rounds spreads over more than 25 %."


def _column(measurement: Measurement) -> str:
    return "latency_ms_p50" if measurement.metric == "latency_ms" else measurement.metric


def _about_comparison(entry: Entry) -> Iterator[tuple[str, str]]:
    comparison = entry.run.comparison
    if comparison is None:
        return
    for each in entry.run.rounds:
        yield from condition_warnings(each)
    for name, reason in comparison.missing.items():
        if name == entry.model or name.startswith((f"{entry.model}:", f"{entry.model} ", f"{entry.model}/")):
            yield f"Not measured ({name.removeprefix(entry.model).strip(' :/') or 'any'}): {reason}", ""


def noise_words(floor: Floor) -> str:
    """The noise floor in one sentence."""
    ratio = floor.ratio
    low, high = f"{ratio.low:.3f}", f"{ratio.high:.3f}"
    inside = ratio.low >= 1 / (1 + NOISE_THRESHOLD) and ratio.high <= 1 + NOISE_THRESHOLD
    end = "so differences above 2 % can be believed" if inside else "so small differences here prove nothing"
    if not is_finite(ratio):
        return f"{floor.model} against itself: {ratio.value:.3f} times as fast, in too few rounds for an interval"
    claimed = f"; a third of the rounds would have claimed a winner in {floor.claims} of {floor.windows} cases"
    return f"{floor.model} against itself: {ratio.value:.3f} times as fast ({low} to {high}), {end}" + (
        claimed if floor.windows else ""
    )
