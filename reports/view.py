"""What every part of the page is made from, worked out once."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.chart.palette import Mark, assign_marks
from reports.choice_text import Question
from reports.look import LookView, looks_of
from reports.micro import MicroFile
from reports.pairs import (
    OF_IMAGES,
    SPEEDS,
    Pairs,
    baselines_of,
    image_pairs,
    speed_pairs,
    top1_pairs,
)
from reports.ranking import Entry, Group, entries_of, groups_of, shared_and_different
from reports.runs import Source
from reports.warning import PageWarning, warnings_of


@dataclass(frozen=True)
class View:
    """The rows of a source, how they are grouped, and how they compare."""

    source: Source
    micro: tuple[MicroFile, ...]
    baseline: str | None  # the model that the table starts with as its baseline
    entries: list[Entry]  # in the order of the runs
    groups: list[Group]
    pairs: list[dict[str, Pairs]]  # of each group, by column
    row_numbers: dict[str, int]  # by the row's key, counted down the table
    marks: dict[str, Mark]  # by family
    warnings: list[PageWarning]
    looks: list[LookView]  # of the data sets
    question: Question  # what the page chooses by when it opens

    @property
    def different(self) -> Sequence[str]:
        """Return the settings in which the groups differ."""
        return shared_and_different(self.groups)[1]

    @property
    def largest(self) -> Group:
        """The group with most rows, the first of several: charts of one group show this one."""
        return max(self.groups, key=lambda group: len(group.entries))

    @property
    def largest_pairs(self) -> dict[str, Pairs]:
        """The pairs of the largest group, by column."""
        return self.pairs[self.groups.index(self.largest)]


def build_view(
    source: Source,
    baseline: str | None = None,
    micro: Sequence[MicroFile] = (),
    question: Question = Question(),  # noqa: B008 - it is frozen
) -> View:
    """Work out what the page shows of a source."""
    entries = entries_of(source)
    groups = groups_of(entries)
    row_keys: list[str] = []
    for group in groups:
        row_keys += [entry.key for entry in group.entries]
    pairs = []
    for group in groups:
        baselines = baselines_of(group, baseline)
        by_column = {metric: speed_pairs(group, metric, baselines) for metric in SPEEDS}
        by_column["top1"] = top1_pairs(group, baselines)
        for column in OF_IMAGES:
            by_column[column.key] = image_pairs(group, column, baselines)
        pairs.append(by_column)
    row_numbers = {key: number for number, key in enumerate(row_keys)}
    marks = assign_marks(entry.family for entry in entries)
    warnings = warnings_of(entries)
    return View(
        source,
        tuple(micro),
        baseline,
        entries,
        groups,
        pairs,
        row_numbers,
        marks,
        warnings,
        looks_of(source),
        question,
    )
