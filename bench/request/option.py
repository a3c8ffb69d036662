"""What the command line knows of an option, declared at the field that holds its value."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from zoo.suggest import unknown

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Option:
    """What the command line needs to know of a field, besides its name, type and default.

    `words` are values that are not of the field's type. Numbers are `positive` or lie in the closed
    interval `between`. A resumed run may change an option that is `resumable`: it says how and
    where to run, not what. A `hidden` option works but is not in `--help`.
    """

    help: str
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    positive: bool = False
    between: tuple[float, float] | None = None
    distinct: bool = False
    resumable: bool = False
    hidden: bool = False


def option(default: T, help: str, **more: Any) -> T:  # noqa: A002 - argparse's word for it
    """Return a dataclass field with a default and an `Option`; `more` are the Option's fields."""
    return dataclasses.field(default=default, metadata={"option": Option(help=help, **more)})


def flag_of(name: str) -> str:
    """Return the flag of an option, as it is written on the command line."""
    return "--" + name.replace("_", "-")


def check_value(flag: str, value: Any, about: Option) -> None:
    """Check one value of an option against what its field allows."""
    if value is None or value in about.words:
        return
    if about.choices and str(value) not in about.choices:
        raise ValueError(unknown(flag, str(value), about.choices))
    if about.positive and not 0 < value < math.inf:
        raise ValueError(f"{flag} {value}: must be finite and greater than 0")
    if about.between is not None:
        low, high = about.between
        # Written so that NaN, which compares false with everything, is refused as well.
        if not low <= value <= high:
            raise ValueError(f"{flag} {value}: must lie between {low} and {high}")


def check_distinct(flag: str, values: Sequence[object]) -> None:
    """Refuse a list that names something twice."""
    repeated = sorted({str(value) for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"{flag}: {', '.join(repeated)} is given twice")
