"""What a command line asks the chooser, checked against what runs measured."""

from bench.results.limit import find_column, parse_limits
from reports.candidates import BY_COLUMN, CHOSEN_BY, TRAIN_COST, what_gives
from reports.choice_text import Question
from reports.ranking import entries_of
from reports.runs import Source


def read_question(source: Source, choose: str, prefer: str | None, price: float | None) -> Question:
    """Return what is asked of a source. Raise ValueError for what isn't there, or wasn't measured.

    `choose` are limits as `parse_limits` reads them; `price` is of an hour.
    """
    limits = parse_limits(choose, BY_COLUMN)
    if price is not None and not 0 <= price < float("inf"):
        raise ValueError(f"--price {price}: must be 0 or more")
    preferred = None if prefer is None else find_column(prefer, CHOSEN_BY).key
    used = [limit.column for limit in limits] + ([preferred] if preferred else [])
    if used:
        _check_measured(source, used, price)
    return Question(limits, preferred, price)


def _check_measured(source: Source, columns: list[str], price: float | None) -> None:
    """Raise ValueError for a column that no row has, saying what would have given it."""
    has = {key for entry in entries_of(source) for key in entry.numbers}
    if price is not None and "train_seconds" in has:
        has.add(TRAIN_COST.key)
    for key in columns:
        if key not in has:
            raise ValueError(f"{key}: not measured in these runs; {what_gives(key)} gives it")
