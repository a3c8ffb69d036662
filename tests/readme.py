"""Write the generated tables of README.md and of the pages in docs/.

python -m tests.readme             write them
python -m tests.readme --check     fail where they aren't true
"""

import sys
from pathlib import Path

from reports.published import compare_with_published
from reports.ranking import Entry, entries_of, groups_of, ranks_of
from reports.runs import read_source
from reports.table import place_text
from zoo.registry import list_models

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
MODELS = ROOT / "docs" / "models.md"
TRAINED_PAGE = ROOT / "docs" / "trained.md"
CLASSICAL_PAGE = ROOT / "docs" / "classical.md"
TRAINED = ROOT / "results" / "trained"
CLASSICAL = ROOT / "results" / "classical"
FASHION = ROOT / "results" / "fashion_mnist"
BEGIN, END = "<!-- {}: written by `python -m tests.readme` -->\n", "<!-- end of {} -->\n"


def model_table() -> str:
    """Every model of the registry, a row each."""
    head = "| name | family | year | source | input | stem | parameters | multiply-adds |\n"
    rule = "|---|---|---|---|---|---|---:|---:|\n"
    rows = [
        f"| `{s.name}` | {s.family} | {s.year} | {s.source} "
        f"| {s.in_channels}x{s.image_size}x{s.image_size} "
        f"| {s.stem} | {s.num_parameters:,} | {s.multiply_adds:,} |\n"
        for s in list_models()
    ]
    return head + rule + "".join(rows)


def trained_table() -> str:
    """The models that were trained for epochs, best first."""
    head = "| # | model | family | top-1 % (95 % interval) | seeds | epochs | parameters |\n"
    rule = "|---:|---|---|---:|---:|---:|---:|\n"
    rows = [
        f"| {place} | `{entry.model}` | {entry.family} | {_top1_text(entry)} "
        f"| {len(entry.finished)} | {entry.numbers['epochs'].value:.0f} "
        f"| {entry.record.num_parameters or 0:,} |\n"
        for entry, place in _placed_entries(TRAINED)
    ]
    return head + rule + "".join(rows)


def fitted_table(folder: Path) -> str:
    """The models of a run beside the time that each took, best first."""
    head = "| # | model | top-1 % (95 % interval) | training, s |\n"
    rule = "|---:|---|---:|---:|\n"
    rows = [
        f"| {place} | `{entry.model}` | {_top1_text(entry)} "
        f"| {entry.numbers['train_seconds'].value:.0f} |\n"
        for entry, place in _placed_entries(folder)
    ]
    return head + rule + "".join(rows)


def published_table() -> str:
    """The published figures of the trained models, each with why ours differs."""
    head = "| model | ours, % | published, % | by | which epoch | why they differ |\n"
    rule = "|---|---:|---:|---|---|---|\n"
    entries = [entry for entry, _ in _placed_entries(TRAINED)]
    rows = [
        f"| `{row.model}` | {row.ours.value:.1f} | {row.published.top1:.1f} "
        f"| {row.published.source} | {row.published.epoch_reported} | {'; '.join(row.reasons)} |\n"
        for row in compare_with_published(entries)
    ]
    return head + rule + "".join(rows)


def _placed_entries(folder: Path) -> list[tuple[Entry, str]]:
    """The finished rows of published runs, best first, each with its place."""
    rows: list[tuple[Entry, str]] = []
    if not folder.is_dir():
        return rows
    for group in groups_of(entries_of(read_source([folder]))):
        places = ranks_of(group)["top1"]
        for entry in group.entries:
            if entry.finished:
                rows.append((entry, place_text(places.get(entry.key))))
    return rows


def _top1_text(entry: Entry) -> str:
    top1 = entry.numbers["top1"]
    return f"{top1.value:.1f} ({top1.low:.1f} to {top1.high:.1f})"


def with_table(text: str, name: str, table: str) -> str:
    """Put a table between its two marks in a page."""
    before, _, rest = text.partition(BEGIN.format(name))
    after = rest.partition(END.format(name))[2]
    return before + BEGIN.format(name) + table + END.format(name) + after


def main(words: list[str]) -> int:
    """Write the tables, or check them; return the exit code."""
    stale = []
    for path, name, table in (
        (README, "trained", trained_table()),
        (TRAINED_PAGE, "published", published_table()),
        (CLASSICAL_PAGE, "classical", fitted_table(CLASSICAL)),
        (CLASSICAL_PAGE, "fashion", fitted_table(FASHION)),
        (MODELS, "models", model_table()),
    ):
        text = path.read_text(encoding="utf-8")
        expected = with_table(text, name, table)
        if text != expected:
            stale.append(path.name)
            if words != ["--check"]:
                path.write_text(expected, encoding="utf-8")
    if words == ["--check"] and stale:
        print(f"{' and '.join(stale)}: out of date; run `python -m tests.readme`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
