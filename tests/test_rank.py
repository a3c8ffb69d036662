"""Ranks with intervals. Oracles: scipy's tests pair by pair, and simulations of a known order."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bench.results.interval import Estimate, holm
from bench.results.rank import adjust_pairs, count_inseparable, p_values_of_pairs, rank_models
from reports.pairs import top1_pairs
from reports.ranking import entries_of, groups_of, ranks_of
from reports.runs import read_source
from reports.standing import Top1, standings_of
from reports.tidy import tidy_rows
from tests.support.record_factory import ZOO, record, write_run


def draw_models(
    truths: NDArray[np.float64], n: int, num_seeds: int, draw: np.random.Generator
) -> list[NDArray[np.bool_]]:
    """Draw which images models of known chances get right, hard images being hard for all.

    With several seeds a seed's chance is half a point beside its model's.
    """
    hard = draw.normal(size=n)
    models = []
    for truth in truths:
        spread = 0.005 if num_seeds > 1 else 0.0
        chances = truth + spread * draw.standard_normal((num_seeds, 1))
        # The sum of two normal numbers of variance 1.
        models.append(
            hard + draw.normal(size=(num_seeds, n)) < np.sqrt(2) * stats.norm.ppf(chances)
        )
    return models


def held_all(truths: NDArray[np.float64], models: list[NDArray[np.bool_]]) -> bool:
    """Return whether all intervals hold their true ranks, in whichever order equals are put."""
    differ = adjust_pairs(p_values_of_pairs(models)) < 0.05
    ranks = rank_models([model.mean() for model in models], differ)
    best = 1 + (truths > truths[:, None]).sum(axis=1)
    worst = len(truths) - (truths < truths[:, None]).sum(axis=1)
    return bool((ranks.low <= best).all() and (ranks.high >= worst).all())


def test_p_values_are_scipys_of_each_pair() -> None:
    draw = np.random.default_rng(0)
    models = draw_models(np.array([0.6, 0.62, 0.7]), 400, 1, draw)
    p = p_values_of_pairs(models)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        only = int((models[i] & ~models[j]).sum()), int((models[j] & ~models[i]).sum())
        assert p[i, j] == p[j, i] == pytest.approx(stats.binomtest(only[0], sum(only)).pvalue)
    numbers = [model.astype(np.float64) for model in models]
    expected = stats.ttest_rel(numbers[0][0], numbers[2][0]).pvalue
    assert p_values_of_pairs(numbers)[0, 2] == pytest.approx(expected)


def test_p_values_of_seeds_are_welchs_where_images_do_not_vary() -> None:
    draw = np.random.default_rng(1)
    seeds = [draw.normal(size=(k, 1)) for k in (3, 5, 4)]
    p = p_values_of_pairs([np.repeat(values, 50, axis=1) for values in seeds])
    for i, j in ((0, 1), (0, 2), (1, 2)):
        expected = stats.ttest_ind(seeds[i][:, 0], seeds[j][:, 0], equal_var=False).pvalue
        assert p[i, j] == pytest.approx(expected)


def test_a_model_is_its_own_equal() -> None:
    (model,) = draw_models(np.array([0.6]), 100, 3, np.random.default_rng(2))
    assert (p_values_of_pairs([model, model, model[:1]])[:2, :2] == 1).all()
    assert (p_values_of_pairs([model[:1], model[:1]]) == 1).all()


def test_pairs_are_adjusted_by_holm() -> None:
    p = np.ones((4, 4))
    rows, columns = np.triu_indices(4, 1)
    values = np.random.default_rng(3).random(6) / 10
    p[rows, columns] = p[columns, rows] = values
    adjusted = adjust_pairs(p)
    assert adjusted[rows, columns] == pytest.approx(holm(values.tolist()))
    assert (adjusted == adjusted.T).all()


def test_ranks_and_tiers_by_hand() -> None:
    values = [50.0, 90.0, 80.0, 79.0, 89.0]
    differ = np.zeros((5, 5), dtype=bool)
    # The last differs from all; 90 from 80 and 79; 89 from 79 alone.
    for i, j in ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (4, 3)):
        differ[i, j] = differ[j, i] = True
    ranks = rank_models(values, differ)
    assert ranks.low.tolist() == [5, 1, 2, 3, 1]
    assert ranks.high.tolist() == [5, 2, 4, 4, 3]
    assert ranks.tier.tolist() == [3, 1, 2, 2, 1]
    # 90 and 89, 89 and 80, 80 and 79 aren't told apart; 79 and 50 are.
    assert count_inseparable(values, differ) == 3
    one = rank_models([1.0], np.zeros((1, 1), dtype=bool))
    assert (one.low[0], one.high[0], one.tier[0]) == (1, 1, 1)


FIELDS = {
    "all equal": np.full(8, 0.7),
    "half a standard error apart": 0.7 + 0.005 * np.arange(8),
    "far apart": 0.4 + 0.07 * np.arange(8),
    "two clusters": np.repeat([0.6, 0.7], 4),
}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("num_seeds", [1, 3])
def test_intervals_hold_all_ranks_at_once(field: str, num_seeds: int) -> None:
    draw = np.random.default_rng(4)
    held = [
        held_all(FIELDS[field], draw_models(FIELDS[field], 1_000, num_seeds, draw))
        for _ in range(100)
    ]
    # 95 % less two standard errors of a hundred.
    assert np.mean(held) >= 0.91


@pytest.mark.slow
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("num_seeds", [1, 2, 3, 5])
def test_intervals_hold_all_ranks_at_once_in_the_long_run(field: str, num_seeds: int) -> None:
    draw = np.random.default_rng(5)
    held = [
        held_all(FIELDS[field], draw_models(FIELDS[field], 2_000, num_seeds, draw))
        for _ in range(2_000)
    ]
    assert np.mean(held) >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / 2_000)


def test_far_apart_is_told_apart() -> None:
    draw = np.random.default_rng(6)
    truths = FIELDS["far apart"]
    models = draw_models(truths, 1_000, 3, draw)
    differ = adjust_pairs(p_values_of_pairs(models)) < 0.05
    ranks = rank_models([model.mean() for model in models], differ)
    assert (ranks.low == ranks.high).sum() >= 6


def test_the_page_and_the_csv_say_where_a_model_may_stand(tmp_path: Path) -> None:
    records = [record(animal, seed) for animal in ZOO[:5] for seed in (0, 1)]
    source = read_source([write_run(tmp_path / "run", records)])
    (group,) = groups_of(entries_of(source))
    rows = tidy_rows(source)
    correct = [entry.correct for entry in group.entries]
    differ = adjust_pairs(p_values_of_pairs(correct)) < 0.05
    for place, entry in enumerate(group.entries):
        standing = group.standings.rows[entry.key]
        better = sum(bool(differ[place, other]) for other in range(place))
        assert standing.low == ranks_of(group)["top1"][entry.key].place == 1 + better
        assert standing.low <= place + 1 <= standing.high
        own = [row for row in rows if row["model"] == entry.model]
        assert [(row["rank_low"], row["rank_high"], row["tier"]) for row in own] == [standing] * 2
    # What the page's pairs say, the ranks say too.
    pairs = top1_pairs(group, list(group.entries))
    for i, base in enumerate(group.entries):
        for j, entry in enumerate(group.entries):
            if i != j:
                assert (pairs[base.key][entry.key].judgement != "undecided") == differ[i, j]


def test_rows_without_predictions_are_told_apart_by_their_intervals() -> None:
    nothing = np.zeros((0, 0), dtype=bool)
    right = np.random.default_rng(7).random((1, 1_000)) < 0.8
    standings = standings_of(
        {
            "far": Top1(Estimate(20, 18, 22), nothing),
            "near": Top1(Estimate(80, 77, 83), nothing),
            "own": Top1(Estimate(100 * right.mean(), 77, 83), right),
        }
    )
    assert standings.rows["far"] == (3, 3, 2)
    assert standings.rows["near"][:2] == standings.rows["own"][:2] == (1, 2)
    assert standings.num_inseparable == 1
    assert standings_of({}).rows == {}
