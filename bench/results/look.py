"""What a look at a data set found: counts, files, and images that show the same. No torch.

It is found once and kept beside the decoded data, and copied into every run on that data.
"""

import json
from dataclasses import field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from bench.results.record import CHECKED, Count
from bench.results.storage import read_bytes, write_bytes

FILE = "look.json"
DOUBLES = "doubles.npz"  # pictures of some, (n, 2, side, side, 3): test and training image
SCHEMA = 1
# Where more than this share of the training images look nearly the same as another one, and so many
# of them, the images of the set are of one kind, and a likeness is no sign of a copy (LAB.md).
MOST_ALIKE, LEAST_ALIKE = 0.1, 100

Part = Literal["train", "test"]


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class Pairs:
    """Pairs of images that show the same, a column a fact.

    Of each image its likeliest double is among them, not all. `exact`: to the pixel, or nearly the
    same. `other_class`: the two have different labels.
    """

    first: tuple[Count, ...] = ()
    second: tuple[Count, ...] = ()
    exact: tuple[bool, ...] = ()
    mirrored: tuple[bool, ...] = ()
    other_class: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError where the columns differ in length."""
        columns = (self.first, self.second, self.exact, self.mirrored, self.other_class)
        if len(set(map(len, columns))) > 1:
            raise ValueError("the columns of pairs differ in length")

    def take(self, kept: NDArray[np.bool_], **columns: NDArray[np.int64]) -> "Pairs":
        """Return some of the pairs; `columns` take the place of those that they name."""
        whole = {name: getattr(self, name) for name in self.__dataclass_fields__} | columns
        return Pairs(
            **{name: tuple(np.asarray(each)[kept].tolist()) for name, each in whole.items()}
        )

    def count(self, *, exact: bool, other_class: bool | None = None) -> int:
        """Count the pairs that are exact, or those that aren't, of other classes if asked."""
        marks = zip(self.exact, self.other_class, strict=True)
        return sum(
            is_exact == exact and other_class in (None, differs) for is_exact, differs in marks
        )

    def count_images(self, *, exact: bool, ends: Literal["first", "both"] = "both") -> int:
        """Count the images that are in exact pairs, or in others, on the first side or on both."""
        rows: set[int] = set()
        for first, second, is_exact in zip(self.first, self.second, self.exact, strict=True):
            if is_exact == exact:
                rows |= {first} if ends == "first" else {first, second}
        return len(rows)


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class PartLook:
    """A part of a set: its images by class, how many are of one colour, and doubles within it."""

    class_counts: tuple[Count, ...]
    num_plain: Count = 0
    pairs: Pairs = field(default_factory=Pairs)

    @property
    def num_images(self) -> int:
        """Images of all classes."""
        return sum(self.class_counts)


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class FileLook:
    """The files of a folder: how many of each format, mode and orientation, and their sizes.

    `orientations` are EXIF's numbers (1 is upright) of those that have one. `unreadable` are pairs
    of a file's name and the reason.
    """

    formats: dict[str, Count]
    modes: dict[str, Count]
    orientations: dict[str, Count]
    smallest: tuple[Count, Count]
    median: tuple[Count, Count]
    largest: tuple[Count, Count]
    num_strips: Count = 0  # more than STRIP times as long as they are wide
    unreadable: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class DataLook:
    """A look at a data set, whose rows are those of its parts in canonical order.

    `across` are pairs of a test image and a training image, in that order. `near` says whether
    doubles that differ in pixels were looked for, `num_dropped` how many training images were left
    out for being doubles of test images.
    """

    name: str
    checksum: str
    class_names: tuple[str, ...]
    size: Count  # pixels a side of what was looked at, 0 where files have sizes of their own
    channels: Count
    train: PartLook
    test: PartLook
    across: Pairs
    files: FileLook | None = None
    near: bool = True
    num_dropped: Count = 0
    seconds: float = 0.0
    schema: int = SCHEMA

    @property
    def num_alike(self) -> int:
        """Training images that look nearly the same as another one."""
        return self.train.pairs.count_images(exact=False)

    @property
    def is_of_one_kind(self) -> bool:
        """Whether so many images look nearly the same that only exact doubles are told."""
        return self.num_alike > max(LEAST_ALIKE, MOST_ALIKE * self.train.num_images)

    @property
    def copies(self) -> Pairs:
        """The pairs across the parts that count as doubles."""
        if not self.is_of_one_kind:
            return self.across
        return self.across.take(np.array(self.across.exact, bool))

    def has_double(self, num_test: int) -> NDArray[np.bool_]:
        """Return which of so many test images show the same as a training image, (num_test,)."""
        marked = np.zeros(num_test, bool)
        rows = np.array(self.copies.first, np.int64)
        marked[rows[rows < num_test]] = True
        return marked


def write_look(path: Path, look: DataLook) -> None:
    """Write a look as JSON, on one line: its columns are long."""
    plain = TypeAdapter(DataLook).dump_python(look, mode="json")
    write_bytes(
        path, (json.dumps(plain, separators=(",", ":"), ensure_ascii=False) + "\n").encode()
    )


def read_look(path: Path) -> DataLook:
    """Read a look; ValueError says in one line what is wrong with the file."""
    try:
        look = TypeAdapter(DataLook).validate_json(read_bytes(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except OSError as error:
        raise ValueError(f"{path}: can't be read ({error.strerror})") from error
    if look.schema > SCHEMA:
        raise ValueError(f"{path}: schema {look.schema} is newer than this version ({SCHEMA})")
    return look
