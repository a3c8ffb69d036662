"""The tidy table of a source: one row a record, with its model's standing among the others."""

from typing import TYPE_CHECKING

from reports.frame import COLUMNS, Field, row_of
from reports.ranking import entries_of, groups_of
from reports.runs import Source

if TYPE_CHECKING:
    import pandas as pd


def tidy_rows(source: Source) -> list[dict[str, Field]]:
    """Return one row a record with every name of COLUMNS.

    In percent, images/s of the whole world, bytes, seconds and milliseconds.
    """
    standings: dict[tuple[str, str, int], dict[str, Field]] = {}
    for group in groups_of(entries_of(source)):
        for entry in group.entries:
            standing = group.standings.rows.get(entry.key)
            if standing is None:
                continue
            fields: dict[str, Field] = {
                "rank_low": standing.low,
                "rank_high": standing.high,
                "tier": standing.tier,
            }
            for cell in entry.finished:
                standings[entry.run.name, cell.record.model, cell.record.seed] = fields
    rows = []
    for run, cell in source.cells:
        record = cell.record
        place = standings.get((run.name, record.model, record.seed), {})
        rows.append(row_of(cell, run.comparison, run=run.name) | place)
    return rows


def tidy_frame(source: Source) -> "pd.DataFrame":
    """Return the tidy rows as a pandas frame."""
    # Imported here: a page without --csv needs no pandas, which takes half a second.
    import pandas as pd

    return pd.DataFrame(tidy_rows(source), columns=list(COLUMNS)).convert_dtypes()
