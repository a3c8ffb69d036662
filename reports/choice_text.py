"""What the chooser says of a group of rows, in the terminal and on the page.

The page's script writes the same sentences with the same WORDS (`choose.js`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bench.results.choice import Candidates, Choice, Miss, choose
from bench.results.interval import Estimate
from bench.results.limit import Limit
from reports.candidates import BY_COLUMN, TRAIN_COST, candidates_of, with_price
from reports.column import format_value
from reports.ranking import Group

MAX_MISSES = 6  # models in the sentence; the others are counted
DEFAULTS = ("top1", "train_images_per_second", "infer_images_per_second", "latency_ms_p50")
WORDS = {
    "take": "Take {model}: {chance} likely to be the best of {number} in {title}{within}",
    "exact": "Take {model}: the best of {number} in {title}{within}, as measured",
    "within": " within the limits",
    "second": "; runner-up {model} ({chance}), {behind}",
    "instead": ", {title} {other} instead of {own}",
    "points": "{value}{unit} {where} ({low} to {high})",
    "ratio": "with {value} times as much ({low} to {high})",
    "behind": "behind",
    "ahead": "ahead",
    "alone": "Only {model} has a figure in {title}: there is nothing to choose between.",
    "no figure": "Nothing to choose by: no model has a figure in {title}.",
    "one seed": "With one seed each, this covers images and rounds only.",
    "binds": "{limit} binds: without it take {model}, {behind}.",
    "none": "No model keeps the limits. The nearest: {misses}.",
    "miss": "{model} misses {limit} by {share} % ({figure})",
    "unknown": "{model} has no {title}",
    "more": "and {number} more",
    "images": "To be surer, test on more images.",
    "seeds": "To be surer, train more seeds (--seeds).",
    "one seed only": "To be surer, train more seeds (--seeds): how much they differ isn't known.",
    "rounds": "To be surer, measure more rounds (--measure-seconds).",
    "sure": "over 99 %",
    "unlikely": "under 1 %",
}


@dataclass(frozen=True)
class Question:
    """What is asked of every group: limits, what to prefer among those that keep them, a price.

    Without a preference it is the first of DEFAULTS that a group has; `price` is of an hour.
    """

    limits: tuple[Limit, ...] = ()
    preferred: str | None = None
    price: float | None = None


@dataclass(frozen=True)
class Answer:
    """What is chosen in a group, and the sentences that say so."""

    preferred: str
    choice: Choice | None
    sentences: tuple[Markup, ...]


def answer(group: Group, question: Question) -> Answer:
    """Return what to take of rows that may be ranked together, with the reasons in words."""
    group = with_price(group, question.price)
    keys = [limit.column for limit in question.limits]
    has = [key for key in DEFAULTS if any(key in entry.numbers for entry in group.entries)]
    preferred = question.preferred or (has or DEFAULTS)[0]
    columns = {key: candidates_of(group, key) for key in dict.fromkeys((preferred, *keys))}
    known = {key: column for key, column in columns.items() if column is not None}
    return Wording(group, question, preferred, known).answer()


@dataclass(frozen=True)
class Wording:
    """The words for one group: its rows, what was asked, and the columns that are known."""

    group: Group
    question: Question
    preferred: str
    columns: Mapping[str, Candidates]

    def answer(self) -> Answer:
        """Return the answer with its sentences."""
        title = within_sentence(BY_COLUMN[self.preferred].title)
        wanted = self.columns.get(self.preferred)
        if wanted is None:
            return Answer(self.preferred, None, (fill("no figure", title=title),))
        limits = self.question.limits
        missing = [limit for limit in limits if limit.column not in self.columns]
        if missing:
            name = within_sentence(BY_COLUMN[missing[0].column].title)
            return Answer(self.preferred, None, (fill("no figure", title=name),))
        choice = choose(self.columns, self.preferred, limits)
        if choice.taken is None:
            return Answer(self.preferred, choice, (self._none(choice.misses),))
        if wanted.known.sum() == 1 and not limits:
            alone = fill("alone", model=self._name(choice.taken), title=title)
            return Answer(self.preferred, choice, (alone,))
        return Answer(self.preferred, choice, tuple(self._sentences(choice, choice.taken)))

    def _sentences(self, choice: Choice, taken: int) -> list[Markup]:
        wanted = self.columns[self.preferred]
        first = fill(
            "exact" if choice.is_exact else "take",
            model=self._name(taken),
            chance=chance_text(float(choice.chances[taken])),
            number=int(wanted.known.sum()),
            title=within_sentence(BY_COLUMN[self.preferred].title),
            within=WORDS["within"] if self.question.limits else "",
        )
        if choice.runner_up is not None and choice.behind is not None:
            first += fill(
                "second",
                model=self._name(choice.runner_up),
                chance=chance_text(float(choice.chances[choice.runner_up])),
                behind=self._distance(choice.behind),
            )
            first += self._instead(choice.runner_up, taken)
        sentences = [first + "."]
        if choice.binding is not None:
            sentences.append(
                fill(
                    "binds",
                    limit=limit_text(choice.binding.limit),
                    model=self._name(choice.binding.model),
                    behind=self._distance(choice.binding.behind),
                )
            )
        if wanted.source == "one seed":
            sentences.append(fill("one seed"))
        if choice.doubt != "none":
            key = "one seed only" if choice.doubt == "one seed" else choice.doubt
            sentences.append(fill(key))
        return sentences

    def _instead(self, other: int, taken: int) -> Markup:
        """Return what else the runner-up costs: its figures in the limited columns, and money."""
        keys = [limit.column for limit in self.question.limits]
        if self.question.price is not None:
            keys.append(TRAIN_COST.key)
        text = Markup()
        for key in dict.fromkeys(keys):
            pair = [self.group.entries[place].numbers.get(key) for place in (other, taken)]
            if key != self.preferred and pair[0] is not None and pair[1] is not None:
                theirs, own = (figure_text(number.value, key) for number in pair if number)
                text += fill(
                    "instead", title=within_sentence(BY_COLUMN[key].title), other=theirs, own=own
                )
        return text

    def _distance(self, behind: Estimate) -> Markup:
        """Return how far a row is behind in the preferred column, in words."""
        column = BY_COLUMN[self.preferred]
        if self.columns[self.preferred].is_log:
            ratios = (format_value(ratio, "number") for ratio in behind)
            return fill("ratio", **dict(zip(("value", "low", "high"), ratios, strict=True)))
        if behind.value < 0:
            behind = Estimate(-behind.value, -behind.high, -behind.low)
            where = WORDS["ahead"]
        else:
            where = WORDS["behind"]
        value, low, high = (format_value(each, column.kind) for each in behind)
        unit = " points" if column.unit == "%" else ""
        return fill("points", value=value, low=low, high=high, where=where, unit=unit)

    def _none(self, misses: Sequence[Miss]) -> Markup:
        said = [self._miss(miss) for miss in misses[:MAX_MISSES]]
        if len(misses) > MAX_MISSES:
            said.append(fill("more", number=len(misses) - MAX_MISSES))
        return fill("none", misses=Markup("; ").join(said))

    def _miss(self, miss: Miss) -> Markup:
        column = BY_COLUMN[miss.limit.column]
        if math.isinf(miss.share):
            return fill(
                "unknown", model=self._name(miss.model), title=within_sentence(column.title)
            )
        return fill(
            "miss",
            model=self._name(miss.model),
            limit=within_sentence(limit_text(miss.limit)),
            share=format_value(100 * miss.share, "number"),
            figure=figure_text(self._figure(miss), column.key),
        )

    def _figure(self, miss: Miss) -> float:
        return self.group.entries[miss.model].numbers[miss.limit.column].value

    def _name(self, place: int) -> Markup:
        return Markup("<b>{}</b>").format(self.group.entries[place].name)


def fill(key: str, **parts: object) -> Markup:
    """Return the words under a key with their parts in place, escaped."""
    return Markup(WORDS[key]).format(**parts)


def chance_text(chance: float) -> str:
    """Return a probability as whole percent: `93 %`."""
    if chance > 0.995:
        return WORDS["sure"]
    return WORDS["unlikely"] if chance < 0.005 else f"{100 * chance:.0f} %"


def figure_text(value: float, key: str) -> str:
    """Return a number of any column that one can choose by, with its unit."""
    column = BY_COLUMN[key]
    return f"{format_value(value, column.kind)} {column.unit}".strip()


def within_sentence(title: str) -> str:
    """Return a column's title, or what begins with it, as it stands within a sentence."""
    return title[:1].lower() + title[1:]


def limit_text(limit: Limit) -> str:
    """Return a limit in words: `Latency p95 at most 5.00 ms`."""
    most = "at most" if limit.sign == "<=" else "at least"
    column = BY_COLUMN[limit.column]
    return f"{column.title} {most} {figure_text(limit.value, column.key)}"
