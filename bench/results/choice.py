"""Which model to take under limits, how sure that is, and what would make it surer. numpy.

All is asked of joint draws of the models' true figures (posterior.py): in each draw the best of the
models that keep all limits wins, and the share of draws that a model wins is the probability that
it is the best one. The page's script asks the same of the same draws (`choose.js`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.results.interval import CONFIDENCE, Estimate
from bench.results.limit import Limit
from bench.results.posterior import Field, draw_true

Draws = NDArray[np.float64]
Shares = NDArray[np.float64]
Source = Literal["images", "seeds", "one seed", "rounds", "none"]

SURE = 0.95  # from here on nothing more need be measured


@dataclass(frozen=True)
class Candidates:
    """Models' figures in one column, (m,), NaN where a model has none; all or none are logarithms.

    `field` holds those that are known, in their order; `source` is what its errors mostly come of.
    """

    key: str
    known: NDArray[np.bool_]
    field: Field
    higher: bool  # is better
    is_log: bool
    source: Source

    @cached_property
    def figures(self) -> NDArray[np.float64]:
        """The measured figures (m,)."""
        figures = np.full(len(self.known), np.nan)
        figures[self.known] = self.field.figures
        return figures

    @cached_property
    def draws(self) -> Draws:
        """Draws of the true figures, (num_draws, m)."""
        found = draw_true(self.field, self.key)
        draws = np.full((len(found), len(self.known)), np.nan)
        draws[:, self.known] = found
        return draws

    @property
    def is_exact(self) -> bool:
        """Whether no figure has an error."""
        return not self.field.own.any() and not self.field.shared

    def keep(self, limit: Limit, figures: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which of `figures`, shaped (…, m), keep a limit; none that isn't known does."""
        value = _on_scale(limit.value, is_log=self.is_log)
        return figures <= value if limit.sign == "<=" else figures >= value


def _on_scale(value: float, *, is_log: bool) -> float:
    if not is_log:
        return value
    return float(np.log(value)) if value > 0 else -np.inf


@dataclass(frozen=True)
class Miss:
    """A model that breaks a limit by its measured figure, and by what share of the limit."""

    model: int
    limit: Limit
    share: float


@dataclass(frozen=True)
class Binding:
    """A limit without which another model would be taken; `behind` is below 0 if that is better."""

    limit: Limit
    model: int
    behind: Estimate


@dataclass(frozen=True)
class Choice:
    """What is taken of m models, by their places; None where no figures keep all limits.

    `chances` (m,) are the probabilities that each is the best that keeps them. `behind` is how far
    the preferred figure of the runner-up is behind, in the column's own terms: a difference, or a
    ratio where figures are logarithms.
    """

    chances: Shares
    taken: int | None
    runner_up: int | None = None
    behind: Estimate | None = None
    binding: Binding | None = None
    misses: tuple[Miss, ...] = ()
    doubt: Source = "none"
    is_exact: bool = False


def choose(
    columns: Mapping[str, Candidates], preferred: str, limits: Sequence[Limit] = ()
) -> Choice:
    """Choose among models the best in the column `preferred` that keeps all limits.

    Only models whose measured figures keep them are taken; of the others it is said how far the
    nearest limit is missed.
    """
    wanted = columns[preferred]
    fits = _keep_all(columns, limits, drawn=False)[0] & wanted.known
    chances = share_of_best(columns, wanted, limits)
    if not fits.any():
        return Choice(chances, None, misses=_nearest_misses(columns, limits, wanted))
    taken = _most_likely(chances, fits, wanted)
    others = wanted.known & (np.arange(len(fits)) != taken)
    runner_up = _most_likely(chances, others, wanted) if others.any() else None
    used = [wanted, *(columns[limit.column] for limit in limits)]
    return Choice(
        chances,
        taken,
        runner_up,
        None if runner_up is None else compare(wanted, taken, runner_up),
        _find_binding(columns, wanted, limits, taken),
        doubt=_find_doubt(columns, wanted, limits, float(chances[taken])),
        is_exact=all(column.is_exact for column in used),
    )


def share_of_best(
    columns: Mapping[str, Candidates],
    wanted: Candidates,
    limits: Sequence[Limit],
    *,
    limits_drawn: bool = True,
) -> Shares:
    """Return in what share of draws each model is the best that keeps all limits, (m,).

    Models that tie share the draw; a draw in which none keeps them is nobody's. Without
    `limits_drawn` it is known who keeps them: those whose measured figures do.
    """
    sign = 1 if wanted.higher else -1
    allowed = _keep_all(columns, limits, drawn=limits_drawn) & wanted.known
    figures = np.where(allowed, sign * wanted.draws, -np.inf)
    highest = figures.max(axis=1, keepdims=True)
    best = (figures == highest) & allowed
    return np.asarray((best / np.maximum(best.sum(axis=1, keepdims=True), 1)).mean(axis=0))


def share_on_front(first: Candidates, second: Candidates) -> Shares:
    """Return in what share of draws no other model beats each in both columns, (m,).

    A model beats another that is worse in one and no better in the other. NaN where a model lacks a
    column.
    """
    known = first.known & second.known
    shares = np.full(len(known), np.nan)
    ours, theirs = (
        column.draws[:, known] if column.higher else -column.draws[:, known]
        for column in (first, second)
    )
    # The best in the second column first: what comes before is beaten in that one by none behind.
    order = np.lexsort((-ours, -theirs), axis=1)
    ours, theirs = (np.take_along_axis(each, order, axis=1) for each in (ours, theirs))
    before = np.maximum.accumulate(ours, axis=1)[:, :-1]
    ahead = np.concatenate([np.ones((len(ours), 1), dtype=bool), ours[:, 1:] > before], axis=1)
    # Equal in both to the last that was ahead: neither beats the other.
    last = np.maximum.accumulate(np.where(ahead, np.arange(ours.shape[1]), 0), axis=1)
    equal = (np.take_along_axis(ours, last, axis=1) == ours) & (
        np.take_along_axis(theirs, last, axis=1) == theirs
    )
    on_front = np.empty_like(ahead)
    np.put_along_axis(on_front, order, ahead | equal, axis=1)
    shares[known] = on_front.mean(axis=0)
    return shares


def _keep_all(
    columns: Mapping[str, Candidates], limits: Sequence[Limit], *, drawn: bool
) -> NDArray[np.bool_]:
    """Return which models keep all limits: (num_draws, m) in the draws, or (1, m) as measured."""
    kept = np.ones((1, 1), dtype=bool)
    for limit in limits:
        column = columns[limit.column]
        kept = kept & column.keep(limit, column.draws if drawn else column.figures[None])
    return kept


def _most_likely(chances: Shares, among: NDArray[np.bool_], wanted: Candidates) -> int:
    """Return the model with the highest chance; of equals the best, then the first."""
    sign = 1 if wanted.higher else -1
    figures = np.where(among, sign * wanted.figures, -np.inf)
    order = np.lexsort((-figures, np.where(among, -chances, 1)))
    return int(order[0])


def compare(column: Candidates, model: int, other: int) -> Estimate:
    """Return how far `other` is behind `model`, with the 95 % interval of the draws.

    Negative where `other` is ahead. Of logarithms the ratio of `other` to `model`.
    """
    sign = 1 if column.higher else -1
    tail = (1 - CONFIDENCE) / 2
    behind = sign * (column.figures[model] - column.figures[other])
    drawn = sign * (column.draws[:, model] - column.draws[:, other])
    # Draws themselves, as the script finds them.
    ordered = np.sort(drawn)
    low, high = (float(ordered[round(share * len(drawn)) - 1]) for share in (tail, 1 - tail))
    found = Estimate(float(behind), low, high)
    if not column.is_log:
        return found
    ratios = sorted(np.exp(-sign * np.array([found.low, found.high])).tolist())
    return Estimate(float(np.exp(-sign * behind)), *ratios)


def _nearest_misses(
    columns: Mapping[str, Candidates], limits: Sequence[Limit], wanted: Candidates
) -> tuple[Miss, ...]:
    """Return of each model the limit that it misses by the largest share, the nearest first."""
    found = []
    for model in np.flatnonzero(wanted.known).tolist():
        missed = [
            Miss(model, limit, _missed_share(columns[limit.column], limit, model))
            for limit in limits
        ]
        found.append(max(missed, key=lambda miss: miss.share))
    return tuple(sorted(found, key=lambda miss: miss.share))


def _missed_share(column: Candidates, limit: Limit, model: int) -> float:
    """Return by what share of the limit a figure is beyond it; 0 within, infinite if unknown."""
    figure = float(column.figures[model])
    if np.isnan(figure):
        return np.inf
    value = float(np.exp(figure)) if column.is_log else figure
    beyond = value - limit.value if limit.sign == "<=" else limit.value - value
    return max(0.0, beyond) / abs(limit.value) if limit.value else max(0.0, beyond)


def _find_binding(
    columns: Mapping[str, Candidates], wanted: Candidates, limits: Sequence[Limit], taken: int
) -> Binding | None:
    """Return the limit without which most is gained; None if none changes the choice."""
    found: list[tuple[float, Binding]] = []
    for limit in limits:
        others = [each for each in limits if each is not limit]
        fits = _keep_all(columns, others, drawn=False)[0] & wanted.known
        model = _most_likely(share_of_best(columns, wanted, others), fits, wanted)
        if model != taken:
            sign = 1 if wanted.higher else -1
            ahead = sign * float(wanted.figures[model] - wanted.figures[taken])
            found.append((ahead, Binding(limit, model, compare(wanted, taken, model))))
    return max(found, key=lambda each: each[0])[1] if found else None


def _find_doubt(
    columns: Mapping[str, Candidates], wanted: Candidates, limits: Sequence[Limit], chance: float
) -> Source:
    """Return what most of the doubt in a choice comes of: what to measure more of."""
    if chance >= SURE:
        return "none"
    decided = share_of_best(columns, wanted, limits, limits_drawn=False).max()
    unsure = [limit for limit in limits if not columns[limit.column].is_exact]
    # Were it known who keeps the limits, would at least half of the doubt be gone?
    if unsure and decided - chance >= (1 - chance) / 2:
        return columns[unsure[0].column].source
    return wanted.source
