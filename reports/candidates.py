"""What rows that may be ranked together are chosen by: their figures in a column, and errors."""

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.results.bootstrap import image_covariance, percentile_covariance, seed_variances
from bench.results.choice import Candidates, Source
from bench.results.interval import CONFIDENCE, Estimate, normal_quantile
from bench.results.metric import CHOICES, METRICS, Column, Metric
from bench.results.posterior import Field, likely_spreads, split_errors
from reports.column import COLUMNS
from reports.estimate import has_interval
from reports.ranking import Entry, Group

LOGARITHMIC = ("rate", "ms", "bytes", "count", "seconds")  # kinds whose figures differ by factors
COUNTED = ("top5", "superclass_top1", "best_validation_top1")  # of images, in percent
DIGITS = 3  # of a standard error, so that the page can carry it
TRAIN_COST = Column(
    key="train_cost",
    title="Cost of training",
    kind="number",
    better="lower",
    about="Training time at the price of an hour that was given",
)
# Columns without a better direction in a table, of which less is better to somebody who chooses.
LESS = ("train_seconds",)
BY_COLUMN = {column.key: column for column in (*COLUMNS, TRAIN_COST)}
CHOSEN_BY = {key: column for key, column in BY_COLUMN.items() if column.better or key in LESS}
SAMPLED: dict[str, tuple[Metric, Column]] = {}
for _metric in METRICS.values():
    if _metric.is_sampled:
        SAMPLED |= {column.key: (_metric, column) for column in _metric.columns}
# What of a run gives a column that no measurement alone gives.
GIVEN_BY = {
    "infer_best_images_per_second": "--measure sweep",
    "infer_best_batch": "--measure sweep",
    "communication_percent": "--measure train with several processes",
    "train_gflops_per_second": "--measure train",
    "superclass_top1": "a data set that has superclasses",
    "best_validation_top1": "--protocol split",
    "top1_best_on_test": "--protocol published",
    TRAIN_COST.key: "--price, and a run that trains",
}
Numbers = Mapping[int, Estimate]  # by the row's place in the group


def what_gives(key: str) -> str:
    """Return which option of a run gives a column: `--measure latency`."""
    if key in GIVEN_BY:
        return GIVEN_BY[key]
    for metric in METRICS.values():
        if key in [column.key for column in metric.columns] and metric.measure in CHOICES:
            return f"--measure {metric.measure.name}"
    return "a run that trains and evaluates (--epochs, --seconds)"


def with_price(group: Group, price: float | None) -> Group:
    """Return a group whose rows have the cost of training, at a price of an hour if there is one.

    The unit is the user's own.
    """
    if price is None:
        return group
    return replace(group, entries=tuple(_with_cost(entry, price) for entry in group.entries))


def _with_cost(entry: Entry, price: float) -> Entry:
    seconds = entry.numbers.get("train_seconds")
    if seconds is None:
        return entry
    cost = Estimate(*(price * value / 3600 for value in seconds))
    return replace(entry, numbers=entry.numbers | {TRAIN_COST.key: cost})


def candidates_of(group: Group, key: str) -> Candidates | None:
    """Return what is known of a group's rows in a column; None if no row has it.

    Errors are those of new images and seeds, or of new rounds. Figures without an interval are
    taken as they are.
    """
    numbers = {
        place: entry.numbers[key]
        for place, entry in enumerate(group.entries)
        if key in entry.numbers and entry.finished
    }
    if not numbers:
        return None
    known = np.zeros(len(group.entries), dtype=bool)
    known[list(numbers)] = True
    column = BY_COLUMN[key]
    values = np.array([number.value for number in numbers.values()])
    is_log = column.kind in LOGARITHMIC and bool((values > 0).all())
    errors = _Errors(group.entries, numbers, is_log=is_log)
    source = errors.fill(column)
    own, shared = split_errors(np.diag(errors.covariance), errors.of_differences)
    # Rounded before anything is made of them: the page makes the same of the same numbers.
    own, figures = round_all(own), np.log(values) if is_log else values
    higher = column.better == "higher"
    spreads = round_all(likely_spreads(figures, own, higher=higher))
    field = Field(figures, own, float(round_all(np.array([shared]))[0]), spreads)
    return Candidates(key, known, field, higher, is_log, source)


def round_all(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return numbers (n,) in DIGITS digits."""
    return np.array([float(f"{value:.{DIGITS}g}") for value in values])


class _Errors:
    """The covariance of rows' figures in a column, filled in from what their runs kept."""

    def __init__(self, entries: Sequence[Entry], numbers: Numbers, *, is_log: bool) -> None:
        self.entries = [entries[place] for place in numbers]
        variances = [_variance(number, is_log=is_log) for number in numbers.values()]
        self.covariance = np.diag(np.array(variances))

    @property
    def of_differences(self) -> NDArray[np.float64]:
        """The variances of all differences (m, m)."""
        own = np.diag(self.covariance)
        return np.asarray(np.clip(own[:, None] + own - 2 * self.covariance, 0, None))

    def fill(self, column: Column) -> Source:
        """Fill in what errors have in common, and return what they mostly come of."""
        if column.key in SAMPLED:
            return self._fill_rounds(*SAMPLED[column.key])
        if column.key == "top1":
            return self._fill_images(
                [100 * entry.correct.astype(np.float64) for entry in self.entries]
            )
        if column.as_difference and column.key != "ece":
            empty = np.zeros((0, 0))
            found = [entry.image_scores.get(column.key, empty) for entry in self.entries]
            if any(scores.size for scores in found):
                return self._fill_images(found)
        if column.key in COUNTED:
            self._fill_counts(column.key)
        if not self.covariance.any():
            return "none"
        return "images" if column.as_difference else "rounds"

    def _fill_images(self, scores: Sequence[NDArray[np.float64]]) -> Source:
        """Fill in from numbers of each image, (seeds, n), of the rows that have as many."""
        sizes = Counter(each.shape[1] for each in scores if each.size)
        if not sizes:
            return "images"
        (num_images, _), *_ = sizes.most_common(1)
        same = [place for place, each in enumerate(scores) if each.shape[1] == num_images]
        models = [scores[place] for place in same]
        of_seeds = seed_variances(models)
        self.covariance[np.ix_(same, same)] = self._covariance_of(models) + np.diag(of_seeds)
        if not of_seeds.any():
            return "one seed" if all(len(seeds) == 1 for seeds in models) else "images"
        own = self.of_differences.mean() / 2
        return "seeds" if of_seeds.mean() > own / 2 else "images"

    def _covariance_of(self, models: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the covariance of means over images, which rows of one group split alike."""
        folds = self.entries[0].folds
        if folds is not None and len(folds) != models[0].shape[1]:
            folds = None
        return image_covariance(models, folds)

    def _fill_counts(self, key: str) -> None:
        """Fill in from how many images a percentage is of, each row's by itself."""
        for place, entry in enumerate(self.entries):
            data = entry.record.data
            n = data.num_validation if key == "best_validation_top1" else data.num_test
            # As if one more were right and one more wrong: no figure is without an error.
            share = (entry.numbers[key].value / 100 * n + 1) / (n + 2)
            self.covariance[place, place] = 1e4 * share * (1 - share) / max(1, n)

    def _fill_rounds(self, metric: Metric, column: Column) -> Source:
        """Fill in from the values of each round, of rows that were measured in the same rounds."""
        together: dict[tuple[int, int], list[int]] = {}
        for place, entry in enumerate(self.entries):
            row = entry.measured.get(metric.name)
            if row is None or len(row.merged) < 2 or min(row.merged) <= 0:
                continue
            # Of several launches the interval says more: it holds what differs between them.
            launches = [each for each in entry.run.rounds if entry.model in each.measurements]
            if row.images is None or len(launches) == 1:
                together.setdefault((id(entry.run), len(row.merged)), []).append(place)
        percent = 50.0
        if column.statistic not in (None, "value"):
            percent = float(str(column.statistic).removeprefix("p"))
        for places in together.values():
            series = [self.entries[place].measured[metric.name].merged for place in places]
            # The same draws for the same column: the same records give the same page.
            draw = np.random.default_rng(zlib.crc32(column.key.encode()))
            block = percentile_covariance(np.array(series), percent, draw)
            self.covariance[np.ix_(places, places)] = block
        return "rounds"


def _variance(number: Estimate, *, is_log: bool) -> float:
    """Return the variance of a figure, or of its logarithm, from its interval; 0 without one."""
    if not has_interval(number):
        return 0.0
    low, high = number.low, number.high
    if is_log:
        if low > 0:
            low, high = float(np.log(low)), float(np.log(high))
        else:
            low, high = -(high - number.value) / number.value, (high - number.value) / number.value
    return ((high - low) / 2 / normal_quantile(CONFIDENCE)) ** 2
