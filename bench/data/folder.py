"""Image folders: one folder a class, read as squares with real pixels in the margin of a crop.

`train/` beside `test/` or `val/` is taken as it is; a folder of classes alone has its test set cut
from it. Canonical order is by the sha256 of CLASS/FILE, since decoders differ in a pixel here and
there. Nothing is decoded until an image is asked for; `folder_build.py` decodes a whole folder.
"""

import copy
import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.data.cache import Say
from bench.data.class_folder import (
    ClassFolders,
    describe_passed_over,
    list_classes,
    list_folders,
    show,
)
from bench.data.picture import decode_square
from bench.data.source import list_roots
from bench.data.split_folder import Role, Splits, check_is_flat, find_splits

SIZE = 224
MARGIN_SHARE = 14  # margin = size / 14: the usual 256 px for windows of 224
LARGEST_CACHE = 20e9  # bytes
TIMEOUT = 60.0  # seconds
TEST_SHARE = 10  # one in ten images of each class, where no test set is given

# Of what files become: another number decodes every folder anew.
PIXELS = 2  # since pictures are turned upright, and deep and transparent ones are read rightly

Row = tuple[str, int]  # CLASS/FILE and the label
Images = Mapping[str, Sequence[str]]  # each class's images as CLASS/FILE


@dataclass(frozen=True)
class Folder:
    """The images of a folder in canonical order: rows (path, label) of training and test set.

    With `num_workers` they are decoded by so many processes whenever they are read, and not stored;
    a batch of theirs that doesn't come within `timeout` seconds is waited for no longer.
    """

    folder: Path
    size: int
    classes: tuple[str, ...]
    train: tuple[Row, ...]
    test: tuple[Row, ...]
    skip_unreadable: bool = False
    name: str = "imagefolder"
    kind: str = "folder"
    num_workers: int | None = None
    timeout: float = TIMEOUT

    @property
    def margin(self) -> int:
        """Pixels on each side of the window."""
        return self.size // MARGIN_SHARE

    @property
    def side(self) -> int:
        """Pixels a side of what is stored."""
        return self.size + 2 * self.margin

    @property
    def identity(self) -> str:
        """Which decoded copy this is: the folder, the size, and what is kept of it."""
        skipped = " without unreadable" if self.skip_unreadable else ""
        kept = " undecoded" if self.num_workers else ""
        whole = "" if self.test else " whole"
        return f"folder {self.folder.resolve()} {self.size}{skipped}{kept}{whole}"

    @property
    def stamp(self) -> str:
        """In which state the files are; a change of any decodes all anew."""
        total = hashlib.sha256(f"pixels {PIXELS}\n".encode())
        for path, _ in self.train + self.test:
            total.update(os.fsencode(f"{path} {_state_of(self.folder / path)}\n"))
        return total.hexdigest()


def _state_of(path: Path) -> str:
    try:
        found = path.stat()
    except OSError as error:
        # A link to nothing, for one: decoding names the file, or leaves it out where that is asked.
        return str(error.strerror)
    return f"{found.st_size} {found.st_mtime_ns}"


class FolderImages:
    """A part of a folder as an array of images that decodes the rows that it is asked for."""

    def __init__(
        self, source: Folder, part: Literal["train", "test"], rows: NDArray[np.int64]
    ) -> None:
        listed = source.train if part == "train" else source.test
        self.paths = [source.folder / listed[row][0] for row in rows]
        self.shape = (len(rows), source.side, source.side, 3)
        self.num_workers = source.num_workers or 0
        self.timeout = source.timeout

    def decode(self, row: int) -> NDArray[np.uint8]:
        """Decode one image, (side, side, 3)."""
        return decode_square(self.paths[row], self.shape[1])

    def take_rows(self, rows: NDArray[np.int64]) -> "FolderImages":
        """Return some of the images, as an array of their own."""
        some = copy.copy(self)
        some.paths = [self.paths[row] for row in rows]
        some.shape = (len(rows), *self.shape[1:])
        return some

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.stack([self.decode(int(row)) for row in rows])


def find_folder(
    data_dir: Path | None,
    image_size: int | None,
    say: Say,
    *,
    skip_unreadable: bool = False,
    whole: bool = False,
    num_workers: int | None = None,
    timeout: float = TIMEOUT,
) -> Folder:
    """Find the classes and images of a folder; where it has no test set, none is cut if `whole`.

    ValueError says what a folder of images must look like.
    """
    looked = []
    for root in list_roots(data_dir):
        looked += [root, root / "imagefolder"]
    for place in looked:
        found = list_folder(place, image_size or SIZE, say, whole=whole)
        if found:
            found = replace(
                found, skip_unreadable=skip_unreadable, num_workers=num_workers, timeout=timeout
            )
            check_trainable(found)
            return found
    raise ValueError(
        f"no image folder in {', '.join(map(str, looked))}: --data-dir needs train/CLASS/*.jpg "
        "with val/CLASS/*.jpg, or CLASS/*.jpg"
    )


def list_folder(folder: Path, size: int, say: Say, *, whole: bool = False) -> Folder | None:
    """List the images of a folder, whatever can be trained on; None where it holds none."""
    if not folder.is_dir():
        return None
    splits = find_splits(folder)
    if splits:
        return _take_given_sets(folder, splits, size, whole, say)
    found = list_classes(folder)
    if not found.num_images:
        return None
    check_is_flat(folder, found.images)
    _say_passed_over(folder, [found], say)
    return _cut_test_set(folder, size, found.images, whole=whole)


def _take_given_sets(folder: Path, splits: Splits, size: int, whole: bool, say: Say) -> Folder:
    """Take train/ with test/ as they are, or with val/ where test/ holds no classes.

    ImageNet's test/ has no labels.
    """
    train_part = splits["train"]
    listed = {part: list_classes(folder / part) for part in splits.values()}
    train = listed[train_part]
    if not train.num_images:
        raise ValueError(f"{folder / train_part}: no class folder with images in it")
    part = next((splits[role] for role in ("test", "val") if _has_images(role, splits, listed)), "")
    used = [name for name in (train_part, part) if name]
    if part == splits.get("val"):
        say(f"{folder}: {part}/ is the test set; validation images are cut from {train_part}/")
    _say_passed_over(folder, [listed[name] for name in used], say)
    unused = [f"{show(name)}/" for name in list_folders(folder) if name not in used]
    if unused:
        say(f"{folder}: {', '.join(unused)} not used; validation images are cut from {train_part}/")
    if not part:
        share = "no image" if whole else f"one image in {TEST_SHARE} of {train_part}/"
        say(f"{folder} has neither test/ nor val/ with classes: {share} is the test set")
        return _cut_test_set(folder, size, train.images, f"{train_part}/", whole=whole)
    classes = tuple(sorted(train.images))
    test = listed[part].images
    unknown = sorted(set(test) - set(classes))
    if unknown:
        raise ValueError(f"{folder / part}: class {unknown[0]!r} is not in {folder / train_part}")
    train_rows = _sort_canonically(train.images, f"{train_part}/", classes)
    return Folder(folder, size, classes, train_rows, _sort_canonically(test, f"{part}/", classes))


def _has_images(role: Role, splits: Splits, listed: Mapping[str, ClassFolders]) -> bool:
    return role in splits and listed[splits[role]].num_images > 0


def _say_passed_over(folder: Path, listed: Sequence[ClassFolders], say: Say) -> None:
    counts: Counter[str] = Counter()
    for found in listed:
        counts += found.passed_over
    if counts:
        say(f"{folder}: passed over {describe_passed_over(counts)}")


def _cut_test_set(
    folder: Path, size: int, images: Images, part: str = "", *, whole: bool
) -> Folder:
    """Cut the test set: the first tenth of each class in canonical order, one image at least.

    Nothing is cut where the set stays `whole`.
    """
    classes = tuple(sorted(images))
    num_to_cut = [0 if whole else max(1, len(images[name]) // TEST_SHARE) for name in classes]
    train: list[Row] = []
    test: list[Row] = []
    for row in _sort_canonically(images, part, classes):
        label = row[1]
        if num_to_cut[label]:
            num_to_cut[label] -= 1
            test.append(row)
        else:
            train.append(row)
    return Folder(folder, size, classes, tuple(train), tuple(test))


def _sort_canonically(images: Images, part: str, classes: Sequence[str]) -> tuple[Row, ...]:
    """Put images in canonical order: by the sha256 of CLASS/FILE, whatever `part` they lie in."""
    labels = {name: label for label, name in enumerate(classes)}
    rows: list[Row] = []
    for name, paths in images.items():
        rows += [(path, labels[name]) for path in paths]
    # By CLASS/FILE without `part`: the order stays if a set is moved from val/ to test/.
    rows.sort(key=lambda row: hashlib.sha256(os.fsencode(row[0])).digest())
    return tuple((part + path, label) for path, label in rows)


def check_trainable(folder: Folder) -> None:
    """Refuse what can't be trained on.

    One class, classes without images, more than the cache should hold.
    """
    # A class's folder may be there without images in it.
    used = {label for _, label in folder.train}
    empty = [name for label, name in enumerate(folder.classes) if label not in used]
    if empty:
        raise ValueError(
            f"{folder.folder}: class {empty[0]!r} has no training images "
            f"({len(empty)} such classes)"
        )
    if len(folder.classes) < 2:
        raise ValueError(
            f"{folder.folder}: one class alone ({folder.classes[0]!r}), two are the least"
        )
    num_images = len(folder.train) + len(folder.test)
    num_bytes = num_images * folder.side**2 * 3
    if num_bytes > LARGEST_CACHE and not folder.num_workers:
        # Bytes grow with the square of the side.
        fits = int(folder.size * (LARGEST_CACHE / num_bytes) ** 0.5)
        needed, most = num_bytes / 1e9, LARGEST_CACHE / 1e9
        raise ValueError(
            f"{folder.folder}: {num_images} images at {folder.size} px are "
            f"{needed:.0f} GB decoded, {most:.0f} GB is the most: "
            f"take --image-size {fits} or less, or decode as it goes by --workers N"
        )
