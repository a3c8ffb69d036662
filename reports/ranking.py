"""Who stands where: the page's rows, which may be ranked together, and their places."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.results.interval import Estimate
from bench.results.record import Measurement, RunRecord
from bench.results.setting import LABELS, ranking_key
from bench.results.verdict import pareto, rank_with_ties
from reports.column import COLUMNS
from reports.estimate import comparison_intervals, estimates_of, stack_scores
from reports.fold import folds_of, join_folds
from reports.frame import measurements_of, text_of
from reports.naming import Names, name_apart
from reports.runs import Cell, Run, Source
from reports.standing import Standings, Top1, standings_of

PREDICTIONS = ("label", "predicted", "confidence")


@dataclass(frozen=True)
class Entry:
    """One row: a model of a run with all its seeds.

    `key` names the row in links by its run and model, and no other row has it. `names` are what a
    reader sees, `numbers` holds its figures by column.
    """

    key: str
    names: Names
    run: Run
    cells: tuple[Cell, ...]
    group: int
    numbers: dict[str, Estimate]

    @property
    def record(self) -> RunRecord:
        """Return the record that stands for the model: the first finished one, else the first."""
        return (self.finished or self.cells)[0].record

    @property
    def model(self) -> str:
        """Return the model's name."""
        return self.record.model

    @property
    def name(self) -> str:
        """Return the model's name, with the run where several rows have that model."""
        return self.names.full

    @property
    def family(self) -> str:
        """Return the model's family; `other` if its record doesn't say."""
        return text_of(self.record.spec, "family") or "other"

    @cached_property
    def finished(self) -> tuple[Cell, ...]:
        """Return the seeds that ended well."""
        return tuple(cell for cell in self.cells if cell.record.status == "ok")

    @property
    def unfinished(self) -> tuple[Cell, ...]:
        """Return the seeds that failed in any way, were interrupted, or are still running."""
        return tuple(cell for cell in self.cells if cell.record.status != "ok")

    @cached_property
    def measured(self) -> dict[str, Measurement]:
        """Return this model's measurements by metric, its record's and the comparison's."""
        return {row.metric: row for row in measurements_of(self.record, self.run.comparison)}

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """Return which test images each finished seed got right, (seeds, n).

        (0, 0) if no predictions can be read, or if they are of differing numbers of images.
        """
        said = [cell.answers for cell in self.finished if cell.answers]
        rows = [answers["label"] == answers["predicted"] for answers in said]
        if len({len(row) for row in rows}) != 1:
            return np.zeros((0, 0), dtype=bool)
        return np.stack(rows)

    @cached_property
    def rules(self) -> dict[str, object]:
        """Return what must agree before it stands in one ranking with another row."""
        return ranking_key(self.record)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Return the class of each test image, (n,); empty without predictions."""
        return self.predictions["label"][: self.correct.shape[1]]

    @property
    def folds(self) -> NDArray[np.int64] | None:
        """Return the fold that each test image was tested in, (n,); None with one test set."""
        return folds_of(self.finished)

    @cached_property
    def predictions(self) -> dict[str, NDArray[Any]]:
        """Return label, predicted class and confidence of every test image, seed after seed, (n,).

        The arrays are empty if no predictions can be read.
        """
        said = [cell.answers for cell in self.finished]
        # Old records lack the confidence.
        found = [answers for answers in said if answers.keys() >= set(PREDICTIONS)]
        if not found:
            return {name: np.empty(0, dtype=np.int64) for name in PREDICTIONS}
        joined = {}
        for name in PREDICTIONS:
            joined[name] = np.concatenate([arrays[name] for arrays in found])
        return joined

    @cached_property
    def image_scores(self) -> dict[str, NDArray[np.float64]]:
        """Return numbers of each image by column, (seeds, n), see `stack_scores`."""
        return stack_scores(self.finished)


@dataclass(frozen=True)
class Group:
    """Rows that may be ranked together, and what they share, by the settings' names."""

    key: dict[str, object]
    entries: tuple[Entry, ...]

    @cached_property
    def standings(self) -> Standings[str]:
        """Return the intervals of the rows' ranks in top-1, by the row's key."""
        rows = [entry for entry in self.entries if "top1" in entry.numbers]
        return standings_of(
            {entry.key: Top1(entry.numbers["top1"], entry.correct, entry.folds) for entry in rows}
        )


@dataclass(frozen=True)
class Rank:
    """A place in one ranking; `tied` if another row has the same one."""

    place: int
    tied: bool


def entries_of(source: Source) -> list[Entry]:
    """Return a row for each model of each run under each set of rules, in the order of the runs."""
    groups: dict[str, int] = {}
    seeds: dict[tuple[int, str, int], list[Cell]] = {}
    for number, run in enumerate(source.runs):
        for cell in run.cells:
            # A dictionary can't be a key of another, but its text can.
            group = groups.setdefault(repr(ranking_key(cell.record)), len(groups))
            seeds.setdefault((number, cell.record.model, group), []).append(cell)
    intervals = [comparison_intervals(run.comparison) for run in source.runs]
    names = name_apart(
        [
            (model, source.runs[number].name, _name_rules(cells[0].record, group))
            for (number, model, group), cells in seeds.items()
        ]
    )
    entries: dict[str, Entry] = {}
    for ((number, model, group), parts), called in zip(seeds.items(), names, strict=True):
        run, cells = source.runs[number], join_folds(parts)
        key = f"{run.name}/{model}"
        # Seeds of one model and run that ran under different rules; or run a/b has a model c, and
        # run a a model b/c.
        while key in entries:
            key = f"{key} ({group + 1})"
        numbers = estimates_of(cells, run, intervals[number])
        entries[key] = Entry(key, called, run, tuple(cells), group, numbers)
    return list(entries.values())


def _name_rules(record: RunRecord, group: int) -> str:
    """Name the rules that a row's cells share, where other rows of its model have others."""
    if record.images_per_class is not None:
        return f"{record.images_per_class} images a class"
    return f"group {group + 1}"


def groups_of(entries: Sequence[Entry]) -> list[Group]:
    """Return the rows by what may be ranked together, in order of first appearance.

    Within a group the best top-1 comes first, and rows without one last.
    """
    members: dict[int, list[Entry]] = {}
    for entry in entries:
        members.setdefault(entry.group, []).append(entry)
    groups = []
    # Groups were numbered in order of first appearance.
    for _, rows in sorted(members.items()):
        rows.sort(key=_descending_top1)
        groups.append(Group(ranking_key(rows[0].record), tuple(rows)))
    return groups


def _descending_top1(entry: Entry) -> float:
    top1 = entry.numbers.get("top1")
    return -top1.value if top1 else math.inf


def shared_and_different(groups: Sequence[Group]) -> tuple[list[str], list[str]]:
    """Return which settings have one value in all groups, and which don't."""
    shared: list[str] = []
    different: list[str] = []
    for name in LABELS:
        values = {repr(group.key[name]) for group in groups}
        (shared if len(values) <= 1 else different).append(name)
    return shared, different


def ranks_of(group: Group) -> dict[str, dict[str, Rank]]:
    """Return places in every column that has a better direction: column -> row's key -> rank.

    In top-1 a place is the best that a row's rank may be (`Group.standings`); else rows whose
    intervals overlap share one.
    """
    best = {key: standing.low for key, standing in group.standings.rows.items()}
    shared = Counter(best.values())
    ranks = {"top1": {key: Rank(low, tied=shared[low] > 1) for key, low in best.items()}}
    for column in COLUMNS:
        if column.better is None or column.key == "top1":
            continue
        rows = [entry for entry in group.entries if column.key in entry.numbers]
        numbers = [entry.numbers[column.key] for entry in rows]
        # The ranking takes more for better, so where less is better the sign changes.
        if column.better == "higher":
            places = rank_with_ties([(number.low, number.high) for number in numbers])
        else:
            places = rank_with_ties([(-number.high, -number.low) for number in numbers])
        ranks[column.key] = {}
        for entry, place in zip(rows, places, strict=True):
            ranks[column.key][entry.key] = Rank(place, tied=places.count(place) > 1)
    return ranks


def best_first(group: Group, key: str) -> list[Entry]:
    """Return the rows that have a number in a column, the highest first."""
    rows = [entry for entry in group.entries if key in entry.numbers]
    return sorted(rows, key=lambda entry: -entry.numbers[key].value)


def pareto_front(group: Group, key: str, *, higher: bool) -> list[Entry]:
    """Return the rows that no other beats in both top-1 and a column, the most accurate first.

    `higher` says which direction is better in the column.
    """
    rows = [entry for entry in best_first(group, "top1") if key in entry.numbers]
    sign = 1 if higher else -1
    points = [(entry.numbers["top1"].value, sign * entry.numbers[key].value) for entry in rows]
    return [entry for entry, is_best in zip(rows, pareto(points), strict=True) if is_best]
