"""The README's generated tables: `python -m tests.readme` writes them, `--check` fails where they aren't true."""

import sys
from pathlib import Path

from zoo.registry import list_models

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- models: written by `python -m tests.readme` -->\n", "<!-- end of models -->\n"


def model_table() -> str:
    """Every model of the registry, a row each."""
    head = "| name | family | year | source | input | stem | parameters | multiply-adds |\n"
    rule = "|---|---|---|---|---|---|---:|---:|\n"
    rows = [
        f"| `{s.name}` | {s.family} | {s.year} | {s.source} | {s.in_channels}x{s.image_size}x{s.image_size} "
        f"| {s.stem} | {s.num_parameters:,} | {s.multiply_adds:,} |\n"
        for s in list_models()
    ]
    return head + rule + "".join(rows)


def main(words: list[str]) -> int:
    """Write the tables, or check them; returns the exit code."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    expected = before + BEGIN + model_table() + END + after
    if words == ["--check"]:
        if text != expected:
            print("README.md: the table of models is not the registry's; run `python -m tests.readme`")
        return int(text != expected)
    README.write_text(expected, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
