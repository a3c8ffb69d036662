"""Image folders: one folder a class, read as squares with real pixels in the margin of a crop.

`train/` beside `test/` or `val/` is taken as it is; a folder of classes alone has its test set cut
from it. Canonical order is by the sha256 of CLASS/FILE, since decoders differ in a pixel here and
there. Nothing is decoded until an image is asked for; `folder_build.py` decodes a whole folder.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.cache import Say
from bench.data.source import list_roots

SIZE = 224
MARGIN_SHARE = 14  # margin = size / 14: the usual 256 px for windows of 224
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
LARGEST_CACHE = 20e9  # bytes
TEST_SHARE = 10  # one in ten images of each class, where no test set is given

Row = tuple[str, int]  # CLASS/FILE and the label
Images = Mapping[str, Sequence[str]]  # each class's images as CLASS/FILE


@dataclass(frozen=True)
class Folder:
    """The images of a folder in canonical order: rows (path, label) of training and test set.

    With `num_workers` they are decoded by so many processes whenever they are read, and not stored.
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
        return f"folder {self.folder.resolve()} {self.size}{skipped}{kept}"

    @property
    def stamp(self) -> str:
        """In which state the files are; a change of any decodes all anew."""
        total = hashlib.sha256()
        for path, _ in self.train + self.test:
            stat = (self.folder / path).stat()
            total.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        return total.hexdigest()


class FolderImages:
    """A part of a folder as an array of images that decodes the rows that it is asked for."""

    def __init__(
        self, source: Folder, part: Literal["train", "test"], rows: NDArray[np.int64]
    ) -> None:
        listed = source.train if part == "train" else source.test
        self.paths = [source.folder / listed[row][0] for row in rows]
        self.shape = (len(rows), source.side, source.side, 3)
        self.num_workers = source.num_workers or 0

    def decode(self, row: int) -> NDArray[np.uint8]:
        """Decode one image, (side, side, 3)."""
        return decode_square(self.paths[row], self.shape[1])

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.stack([self.decode(int(row)) for row in rows])


def decode_square(path: Path, side: int) -> NDArray[np.uint8]:
    """Decode one image to (side, side, 3).

    Short side resized to `side` (bilinear, antialiased), centre taken, as torchvision's Resize and
    CenterCrop do.
    """
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    width, height = image.size
    short = min(width, height)
    size = side * width // short, side * height // short
    image = image.resize(size, Image.Resampling.BILINEAR)
    left = round((image.width - side) / 2)
    top = round((image.height - side) / 2)
    window = left, top, left + side, top + side
    return np.asarray(image.crop(window))


def find_folder(
    data_dir: Path | None,
    image_size: int | None,
    say: Say,
    *,
    skip_unreadable: bool = False,
    num_workers: int | None = None,
) -> Folder:
    """Find the classes and images of a folder.

    ValueError says what a folder of images must look like.
    """
    looked = []
    for root in list_roots(data_dir):
        looked += [root, root / "imagefolder"]
    for place in looked:
        found = _list_folder(place, image_size or SIZE, say)
        if found:
            found = replace(found, skip_unreadable=skip_unreadable, num_workers=num_workers)
            _check(found)
            return found
    raise ValueError(
        f"no image folder in {', '.join(map(str, looked))}: --data-dir needs train/CLASS/*.jpg "
        "with val/CLASS/*.jpg, or CLASS/*.jpg"
    )


def _list_folder(folder: Path, size: int, say: Say) -> Folder | None:
    if (folder / "train").is_dir():
        return _take_given_sets(folder, size, say)
    images = _list_images(folder)
    return _cut_test_set(folder, size, images) if images else None


def _take_given_sets(folder: Path, size: int, say: Say) -> Folder:
    """Take train/ with test/ as they are, or with val/ where test/ holds no classes.

    ImageNet's test/ has no labels.
    """
    train = _list_images(folder / "train")
    if not train:
        raise ValueError(f"{folder / 'train'}: no class folder with images in it")
    part = "test"
    test = _list_images(folder / "test")
    if not test:
        part = "val"
        test = _list_images(folder / "val")
    if not test:
        say(
            f"{folder} has neither test/ nor val/ with classes: "
            f"one image in {TEST_SHARE} of train/ is the test set"
        )
        return _cut_test_set(folder, size, train, "train/")
    classes = tuple(sorted(train))
    unknown = sorted(set(test) - set(classes))
    if unknown:
        raise ValueError(f"{folder / part}: class {unknown[0]!r} is not in {folder / 'train'}")
    train_rows = _sort_canonically(train, "train/", classes)
    return Folder(folder, size, classes, train_rows, _sort_canonically(test, f"{part}/", classes))


def _cut_test_set(folder: Path, size: int, images: Images, part: str = "") -> Folder:
    """Cut the test set: the first tenth of each class in canonical order, one image at least."""
    classes = tuple(sorted(images))
    num_to_cut = [max(1, len(images[name]) // TEST_SHARE) for name in classes]
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


def _list_images(folder: Path) -> dict[str, list[str]]:
    """List each class's images as CLASS/FILE; empty if no class has any."""
    found = {}
    for place in sorted(folder.glob("*")):
        if place.is_dir() and not place.name.startswith("."):
            found[place.name] = _list_class(place)
    return found if any(found.values()) else {}


def _list_class(place: Path) -> list[str]:
    paths = []
    for base, _, files in os.walk(place):
        for file in files:
            if file.lower().endswith(SUFFIXES) and not file.startswith("."):
                paths.append(str((Path(base) / file).relative_to(place.parent)))
    return paths


def _sort_canonically(images: Images, part: str, classes: Sequence[str]) -> tuple[Row, ...]:
    """Put images in canonical order: by the sha256 of CLASS/FILE, whatever `part` they lie in."""
    labels = {name: label for label, name in enumerate(classes)}
    rows: list[Row] = []
    for name, paths in images.items():
        rows += [(path, labels[name]) for path in paths]
    # By CLASS/FILE without `part`: the order stays if a set is moved from val/ to test/.
    rows.sort(key=lambda row: hashlib.sha256(row[0].encode()).digest())
    return tuple((part + path, label) for path, label in rows)


def _check(folder: Folder) -> None:
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
