"""Image folders: one folder a class, decoded once to squares, with real pixels in the margin that crops move over.

`train/` beside `test/` or `val/` is taken as it is; a folder of classes alone has its test set cut
from it. Canonical order is by the sha256 of CLASS/FILE, since decoders differ in a pixel here and
there.
"""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.data.cache import Facts, Say, Tally, tally
from bench.data.source import roots

SIZE = 224
MARGIN_SHARE = 14  # margin = size / 14: the usual 256 px for windows of 224
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
LARGEST_CACHE = 20e9  # bytes
TEST_SHARE = 10  # one in ten images of each class, where no test set is given
CHUNK = 512  # images that are held at once where they aren't stored
NUM_NAMED = 3  # faulty files that an error names before it counts the others

Row = tuple[str, int]  # CLASS/FILE and the label


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
        """Which decoded copy this is: the folder and the size."""
        kept = " undecoded" if self.num_workers else ""
        return f"folder {self.folder.resolve()} {self.size}{' without unreadable' * self.skip_unreadable}{kept}"

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
    looked = [place for root in roots(data_dir) for place in (root, root / "imagefolder")]
    asked: dict[str, Any] = {"skip_unreadable": skip_unreadable, "num_workers": num_workers}
    for place in looked:
        if (place / "train").is_dir():
            return _checked(replace(_given(place, image_size or SIZE, say), **asked))
        rows = _scan(place)
        if rows:
            return _checked(replace(_cut(place, image_size or SIZE, rows), **asked))
    raise ValueError(
        f"no image folder in {', '.join(map(str, looked))}: --data-dir needs train/CLASS/*.jpg with val/CLASS/*.jpg, "
        "or CLASS/*.jpg"
    )


def _given(folder: Path, size: int, say: Say) -> Folder:
    """Take train/ and test/ as they are, or val/ where test/ holds no classes (ImageNet's has no labels)."""
    train = _scan(folder / "train")
    if not train:
        raise ValueError(f"{folder / 'train'}: no class folder with images in it")
    tests = {part: _scan(folder / part) for part in ("test", "val")}
    part = next((part for part, rows in tests.items() if rows), None)
    if part is None:
        say(
            f"{folder} has neither test/ nor val/ with classes: one image in {TEST_SHARE} of train/ is the test set"
        )
        return _cut(folder, size, train, "train/")
    classes = tuple(sorted(train))
    unknown = sorted(set(tests[part]) - set(classes))
    if unknown:
        raise ValueError(f"{folder / part}: class {unknown[0]!r} is not in {folder / 'train'}")
    return Folder(
        folder, size, classes, _rows(train, "train/"), _rows(tests[part], f"{part}/", classes)
    )


def _cut(folder: Path, size: int, images: dict[str, list[str]], part: str = "") -> Folder:
    """Cut the test set: the first tenth of each class in canonical order."""
    classes = tuple(sorted(images))
    rows = _rows(images, part)
    seen = [0] * len(classes)
    train: list[Row] = []
    test: list[Row] = []
    for row in rows:
        seen[row[1]] += 1
        (
            test if seen[row[1]] <= max(1, len(images[classes[row[1]]]) // TEST_SHARE) else train
        ).append(row)
    return Folder(folder, size, classes, tuple(train), tuple(test))


def _scan(folder: Path) -> dict[str, list[str]]:
    """List each class's images as CLASS/FILE; empty if no class has any."""
    found = {}
    for one in sorted(
        path for path in folder.glob("*") if path.is_dir() and not path.name.startswith(".")
    ):
        found[one.name] = [
            str((Path(base) / file).relative_to(folder))
            for base, _, files in os.walk(one)
            for file in files
            if file.lower().endswith(SUFFIXES) and not file.startswith(".")
        ]
    return found if any(found.values()) else {}


def _rows(
    images: dict[str, list[str]], part: str, classes: tuple[str, ...] = ()
) -> tuple[Row, ...]:
    """Put images in canonical order: by the sha256 of CLASS/FILE, whatever `part` they lie in."""
    labels = {name: label for label, name in enumerate(classes or sorted(images))}
    rows = [(path, labels[name]) for name, paths in images.items() for path in paths]
    rows.sort(key=lambda row: hashlib.sha256(row[0].encode()).digest())
    return tuple((part + path, label) for path, label in rows)


def _checked(folder: Folder) -> Folder:
    """Refuse what can't be trained on.

    One class, classes without images, more than the cache should hold.
    """
    empty = [
        name
        for label, name in enumerate(folder.classes)
        if not any(row[1] == label for row in folder.train)
    ]
    if empty:
        raise ValueError(
            f"{folder.folder}: class {empty[0]!r} has no training images ({len(empty)} such classes)"
        )
    if len(folder.classes) < 2:
        raise ValueError(
            f"{folder.folder}: one class alone ({folder.classes[0]!r}), two are the least"
        )
    num_images = len(folder.train) + len(folder.test)
    num_bytes = num_images * folder.side**2 * 3
    if num_bytes > LARGEST_CACHE and not folder.num_workers:
        fits = int(folder.size * (LARGEST_CACHE / num_bytes) ** 0.5)
        raise ValueError(
            f"{folder.folder}: {num_images} images at {folder.size} px are {num_bytes / 1e9:.0f} GB decoded, "
            f"{LARGEST_CACHE / 1e9:.0f} GB is the most: take --image-size {fits} or less, or decode as it goes by "
            "--workers N"
        )
    return folder


def build_folder(source: Folder, aside: Path, say: Say) -> Facts:
    """Decode all images, into `aside` where they are stored; returns what the cache keeps about them.

    ValueError names unreadable files. Where they are skipped, they are said instead, and counted in
    the facts.
    """
    tallies, sums, num_skipped = {}, {}, 0
    take_in = _add_up if source.num_workers else _store
    for part, rows in (("train", source.train), ("test", source.test)):
        tallies[part], kept = take_in(source, rows, aside / f"{part}_images.npy", say)
        labels = np.array([rows[row][1] for row in kept], np.int64)
        _check_left(source, part, labels)
        np.save(aside / f"{part}_labels.npy", labels)
        np.save(aside / f"{part}_rows.npy", kept)
        sums[part], num_skipped = (
            tallies[part].checksum(labels),
            num_skipped + len(rows) - len(kept),
        )
    mean, std = tallies["train"].statistics()
    return {
        "checksum": hashlib.sha256(f"{sums['train']} {sums['test']}".encode()).hexdigest(),
        "size": source.size,
        "margin": source.margin,
        "class_names": source.classes,
        "superclass_names": [],
        "superclass_of": [],
        "mean": mean,
        "std": std,
        "num_skipped": num_skipped,
    }


def _store(
    source: Folder, rows: tuple[Row, ...], path: Path, say: Say
) -> tuple[Tally, NDArray[np.int64]]:
    """Decode these rows into a file; returns what they add up to, and those that are kept."""
    images: NDArray[np.uint8] = np.lib.format.open_memmap(
        path, "w+", np.uint8, (len(rows), source.side, source.side, 3)
    )
    faults = _decode_all(source, rows, images)
    kept = _readable(source, len(rows), faults, say)
    return tally(_only(path, images, kept.tolist()) if faults else images), kept


def _add_up(
    source: Folder, rows: tuple[Row, ...], _: Path, say: Say
) -> tuple[Tally, NDArray[np.int64]]:
    """Do the same without storing them: chunk by chunk, and once more if some are left out."""
    shape = (source.side, source.side, 3)
    kept = np.arange(len(rows))
    while True:
        whole = Tally((len(kept), *shape))
        faults: dict[int, str] = {}
        for start in range(0, len(kept), CHUNK):
            chunk = kept[start : start + CHUNK]
            images = np.empty((len(chunk), *shape), np.uint8)
            found = _decode_all(source, tuple(rows[row] for row in chunk), images)
            faults |= {start + row: fault for row, fault in found.items()}
            whole.add(images)
        if not faults:
            return whole, kept
        kept = kept[_readable(source, len(kept), faults, say)]


def _readable(
    source: Folder, num_images: int, faults: dict[int, str], say: Say
) -> NDArray[np.int64]:
    """The rows without those that can't be read, if they may be left out."""
    if faults:
        _say_or_refuse(source, list(faults.values()), num_images, say)
    return np.setdiff1d(np.arange(num_images), list(faults)).astype(np.int64)


def _decode_all(source: Folder, rows: tuple[Row, ...], images: NDArray[np.uint8]) -> dict[int, str]:
    """Decode every row into `images`; returns why, by row, for those that can't be read."""
    from PIL import Image

    def decode_one(row: int) -> str:
        try:
            images[row] = decode_square(source.folder / rows[row][0], source.side)
        except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
            return f"{source.folder / rows[row][0]} ({str(error).splitlines()[0]})"
        return ""

    return {row: fault for row, fault in enumerate(_in_threads(decode_one, len(rows))) if fault}


def _say_or_refuse(source: Folder, faults: list[str], num_images: int, say: Say) -> None:
    more = f" and {len(faults) - NUM_NAMED} more" if len(faults) > NUM_NAMED else ""
    text = (
        f"{len(faults)} of {num_images} images can't be read: {', '.join(faults[:NUM_NAMED])}{more}"
    )
    if not source.skip_unreadable:
        raise ValueError(f"{text}; --skip-unreadable leaves them out")
    say(f"{text}; they are left out")


def _only(path: Path, images: NDArray[np.uint8], kept: list[int]) -> NDArray[np.uint8]:
    """Write an array of images anew with these rows alone."""
    aside = path.with_suffix(".part")
    fewer = np.lib.format.open_memmap(aside, "w+", np.uint8, (len(kept), *images.shape[1:]))
    for to, row in enumerate(kept):
        fewer[to] = images[row]
    fewer.flush()
    aside.replace(path)
    return fewer


def _check_left(source: Folder, part: str, labels: NDArray[np.int64]) -> None:
    """Refuse a set of which skipping left nothing, or no training image of a class."""
    empty = [
        name
        for label, name in enumerate(source.classes)
        if part == "train" and not (labels == label).any()
    ]
    if empty or not len(labels):
        what = f"class {empty[0]!r} has no training image" if empty else f"{part} has no image"
        raise ValueError(f"{source.folder}: {what} that can be read")


def _in_threads(task: Callable[[int], str], n: int) -> Iterator[str]:
    """Run a task for each row (Pillow decodes without the interpreter's lock).

    A huge image is an error.
    """
    from PIL import Image

    with warnings.catch_warnings(), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield from pool.map(task, range(n))


def decode_square(path: Path, side: int) -> NDArray[np.uint8]:
    """Decode one image to (side, side, 3).

    Short side resized to `side` (bilinear, antialiased), centre taken.
    """
    from PIL import Image

    with Image.open(path) as opened:
        image = opened.convert("RGB")
    width, height = image.size
    short = min(width, height)
    image = image.resize((side * width // short, side * height // short), Image.Resampling.BILINEAR)
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    return np.asarray(image.crop((left, top, left + side, top + side)))
