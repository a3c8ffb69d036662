"""Write the generated tables: the survey in README.md and every model in docs/models.md.

python -m tests.readme             write them
python -m tests.readme --check     fail where they aren't true
"""

import sys
from pathlib import Path

from reports.column import format_value
from reports.ranking import Entry, entries_of, groups_of, ranks_of
from reports.runs import read_source
from reports.table import place_text
from zoo.registry import list_models

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
MODELS = ROOT / "docs" / "models.md"
SURVEY = ROOT / "results" / "survey"
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


def survey_table() -> str:
    """The published survey, best first; a line that says how to make it where it isn't there."""
    if not SURVEY.is_dir():
        return "Not published yet: `./launch.sh --recipe survey` makes it.\n"
    groups = groups_of(entries_of(read_source([SURVEY])))
    head = (
        "| # | model | family | top-1 % (95 % interval) | seeds "
        "| training img/s | inference img/s | parameters |\n"
    )
    rule = "|---:|---|---|---:|---:|---:|---:|---:|\n"
    rows = []
    for group in groups:
        places = ranks_of(group)["top1"]
        rows += [
            _survey_row(entry, place_text(places.get(entry.key)))
            for entry in group.entries
            if entry.finished
        ]
    return head + rule + "".join(rows)


def _survey_row(entry: Entry, place: str) -> str:
    top1 = entry.numbers["top1"]
    rates = [
        format_value(entry.numbers[key].value, "rate") if key in entry.numbers else ""
        for key in ("train_images_per_second", "infer_images_per_second")
    ]
    return (
        f"| {place} | `{entry.model}` | {entry.family} "
        f"| {top1.value:.1f} ({top1.low:.1f} to {top1.high:.1f}) "
        f"| {len(entry.finished)} | {rates[0]} | {rates[1]} "
        f"| {entry.record.num_parameters or 0:,} |\n"
    )


def with_table(text: str, name: str, table: str) -> str:
    """Put a table between its two marks in a page."""
    before, _, rest = text.partition(BEGIN.format(name))
    after = rest.partition(END.format(name))[2]
    return before + BEGIN.format(name) + table + END.format(name) + after


def main(words: list[str]) -> int:
    """Write the tables, or check them; return the exit code."""
    stale = []
    for path, name, table in (
        (README, "survey", survey_table()),
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
