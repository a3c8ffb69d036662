"""The words of a command line before and after tyro reads them. No torch."""

import difflib
import re
from collections.abc import Iterable, Sequence


def option(argv: Sequence[str], flag: str) -> str | None:
    """The value of an option that must be known before the others can be read, the last where it is given twice."""
    found = None
    for i, word in enumerate(argv):
        if word.startswith(flag + "="):
            found = word.split("=", 1)[1]
        if word == flag:
            found = argv[i + 1] if i + 1 < len(argv) else ""
    return found


def with_value(argv: Sequence[str], flag: str, value: str) -> list[str]:
    """The command line with a value behind a flag that was given without one."""
    words: list[str] = []
    for word, after in zip(argv, [*argv, "--"][1:], strict=True):
        words += [word, value] if word == flag and after.startswith("--") else [word]
    return words


def best_as_flag(argv: Sequence[str]) -> list[str]:
    """`--batch-size best` as the option that it stands for."""
    words = list(argv)
    for i, word in enumerate(words):
        if word == "--batch-size=best":
            words[i] = "--best-batch"
        if word == "--batch-size" and words[i + 1 : i + 2] == ["best"]:
            words[i : i + 2] = ["--best-batch"]
    return words


def one_line(box: str) -> str:
    """The message of a box drawn around it: its lines up to the first rule."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    lines = [line.strip("│ ").rstrip() for line in plain.splitlines()[1:]]
    kept: list[str] = []
    for line in lines:
        if line.startswith(("────", "╰")) and kept:
            break
        kept.append(line)
    return " ".join(" ".join(kept).split()) or "the options can't be read"


def flag_of(name: str) -> str:
    """The flag of an option, as it is written on the command line."""
    return "--" + name.replace("_", "-")


def unknown(what: str, given: str, allowed: Iterable[str]) -> str:
    """Say that a name is unknown, which ones are nearest, or all of them where they are few."""
    names = list(allowed)
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"choose from {', '.join(names[:40])}"
    return f"{what}: {given!r} is unknown; {hint}"
