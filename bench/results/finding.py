"""What a study found: the answer in words, its figures as plain data, and what it was made from.

No torch. A study writes it, and `python -m reports studies` draws it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from bench.results.interval import Estimate
from bench.results.record import CHECKED, Number
from bench.results.storage import read_bytes, write_json

FILE = "finding.json"
FINDING_SCHEMA = 1


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class Point:
    """A value at a place, with its interval where there is one.

    `place` is a number of the axis, or the name of a row.
    """

    place: Number | str
    value: Number
    low: Number | None = None
    high: Number | None = None


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class Series:
    """The points of one name; `published` are somebody else's."""

    name: str
    points: tuple[Point, ...]
    published: bool = False


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class Plot:
    """One figure: dots at rows, or lines over numbers. `caption` states what it shows."""

    title: str
    caption: str
    kind: Literal["dots", "lines"]
    x: str
    y: str
    series: tuple[Series, ...]
    log_x: bool = False


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class Picture:
    """An image of a finding, a PNG in base64, with what is seen on it."""

    png: str
    caption: str


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class Answer:
    """What a study says: `sentences`, the most important one first, and what they rest on.

    `setting` says on what, with what and for how long models were trained, `beside` are published
    figures and where they are from.
    """

    sentences: tuple[str, ...]
    setting: str
    beside: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class Finding:
    """The outcome of a study: what was asked, the answer, and how it was come by.

    `runs` are the folders of the runs beside the finding, each an ordinary run; `seconds` are those
    of all starts that came to an answer: a later one finds its runs done.
    """

    study: str
    question: str
    answer: Answer
    quick: bool
    runs: tuple[str, ...]
    seconds: Number
    environment: dict[str, JsonValue]
    created: str
    schema: int = FINDING_SCHEMA


def point_at(place: float | str, estimate: Estimate) -> Point:
    """Return an estimate as a point; an end that isn't known is left out."""
    low, high = (end if abs(end) < float("inf") else None for end in estimate[1:])
    return Point(place=place, value=estimate.value, low=low, high=high)


def write_finding(folder: Path, finding: Finding) -> None:
    """Write a finding into its study's folder."""
    write_json(folder / FILE, TypeAdapter(Finding).dump_python(finding, mode="json"))


def read_finding(path: Path) -> Finding:
    """Read a finding; ValueError says in one line what is wrong with the file."""
    try:
        found = TypeAdapter(Finding).validate_json(read_bytes(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path}: no finding of a study ({place}: {first['msg']})") from error
    except OSError as error:
        raise ValueError(f"{path}: can't be read ({error.strerror})") from error
    if found.schema > FINDING_SCHEMA:
        raise ValueError(f"{path}: schema {found.schema} is newer than {FINDING_SCHEMA}")
    return found


def find_findings(folders: Sequence[Path]) -> list[Path]:
    """List the findings in these folders: their own, or those of the studies in them, by name."""
    paths = []
    for folder in folders:
        own = folder / FILE
        paths += [own] if own.is_file() else sorted(folder.glob(f"*/{FILE}"))
    return paths
