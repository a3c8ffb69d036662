"""Where the files of a data set are: found on disk, or fetched. Nothing is decoded here. No torch until a download.

A set is looked for in the folder itself, in DIR/NAME and in the sub-folders of the hub's layout.
"""

import os
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.cache import Say, user_cache

Kind = Literal["parquet", "archive", "embedded", "folder"]
START_SECONDS = 8.0  # a download that hasn't begun by then is given up; 10 s with all around it
RETRY_SECONDS = 60.0  # ranks that start together must agree: after a failed try nobody tries again so soon


@dataclass(frozen=True)
class Source:
    """The files that one data set is read from. `folder` is what torchvision calls the root of an archive."""

    name: str
    kind: Kind
    folder: Path
    train: tuple[Path, ...] = ()
    test: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All files, training first."""
        return self.train + self.test

    @property
    def identity(self) -> str:
        """Where the set comes from: one decoded copy is kept of each."""
        return f"{self.kind} {self.folder.resolve()}"

    @property
    def stamp(self) -> str:
        """In which state the files are; any change decodes them anew."""
        stats = [(path.name, path.stat()) for path in self.files]
        return " ".join(f"{name}:{stat.st_size}:{stat.st_mtime_ns}" for name, stat in stats)


@dataclass(frozen=True)
class Archive:
    """An official archive as torchvision reads it: the class, the packed file, and what it unpacks to."""

    torchvision_class: str
    packed: str
    base: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    url: str

    def read_files(self, folder: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """Name the training and the test files under torchvision's root."""
        base = folder / self.base
        return tuple(base / name for name in self.train), tuple(base / name for name in self.test)


ARCHIVES = {
    "cifar100": Archive(
        "CIFAR100",
        "cifar-100-python.tar.gz",
        "cifar-100-python",
        ("train", "meta"),
        ("test",),
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    ),
    "cifar10": Archive(
        "CIFAR10",
        "cifar-10-python.tar.gz",
        "cifar-10-batches-py",
        (*(f"data_batch_{i}" for i in range(1, 6)), "batches.meta"),
        ("test_batch",),
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    ),
}
LABEL_COLUMNS = {"cifar100": "fine_label", "cifar10": "label"}
PARQUET_FOLDERS = ("", "data", "plain_text")


def roots(data_dir: Path | None) -> list[Path]:
    """List the folders to look in: `data_dir` alone if it is given, else $ZOOMETRY_DATA and the user's cache."""
    if data_dir is not None:
        return [_existing(data_dir, "--data-dir")]
    named = os.environ.get("ZOOMETRY_DATA")
    return ([_existing(Path(named), "ZOOMETRY_DATA")] if named else []) + [user_cache()]


def _existing(folder: Path, what: str) -> Path:
    if not folder.is_dir():
        raise ValueError(f"{what} {folder}: no such folder")
    return folder


def find(name: str, data_dir: Path | None) -> Source | None:
    """Find a set's files, parquet before archive; None if they aren't there."""
    for root in roots(data_dir):
        for folder in (root, root / name):
            source = _parquet(name, folder) or _archive(name, folder)
            if source:
                return source
    return None


def missing(name: str, data_dir: Path | None) -> ValueError:
    """Build the error for a set that isn't there: where it was looked for, and how to get it."""
    looked = ", ".join(f"{root} and {root / name}" for root in roots(data_dir))
    return ValueError(
        f"data set {name!r} not found in {looked}: put its parquet files (train-*.parquet, test-*.parquet) "
        f"or {ARCHIVES[name].packed} there, or download it from {ARCHIVES[name].url}"
    )


def _parquet(name: str, folder: Path) -> Source | None:
    for place in (folder / sub for sub in PARQUET_FOLDERS):
        train, test = sorted(place.glob("train-*.parquet")), sorted(place.glob("test-*.parquet"))
        if train and test and LABEL_COLUMNS[name] in parquet_columns(train[0]):
            return Source(name, "parquet", place, tuple(train), tuple(test))
    return None


def parquet_columns(path: Path) -> list[str]:
    """Read the names of a parquet file's columns; ValueError with the file's name if it is damaged."""
    return list(open_parquet(path).schema_arrow.names)


def open_parquet(path: Path) -> Any:
    """Open a parquet file (pyarrow.parquet.ParquetFile); ValueError with its name if its end is missing or damaged."""
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: truncated or not a parquet file ({str(error).splitlines()[0]})") from error


def _archive(name: str, folder: Path) -> Source | None:
    archive = ARCHIVES[name]
    root = folder.parent if folder.name == archive.base else folder
    train, test = archive.read_files(root)
    if all(path.is_file() for path in train + test):
        return Source(name, "archive", root, train, test)
    packed = root / archive.packed
    return Source(name, "archive", root, (packed,)) if packed.is_file() else None


def fetch(name: str, say: Say) -> Source | None:
    """Download an official archive into the user's cache; None, said, if that can't start within 10 s.

    Progress is torchvision's own bar. ValueError if the download breaks off or its md5 sum is wrong.
    """
    folder = user_cache() / name
    failed = folder / "download-failed"
    if failed.exists() and time.time() - failed.stat().st_mtime < RETRY_SECONDS:
        say(f"{name}: a download has just failed; not trying again for {RETRY_SECONDS:.0f} s")
        return None
    url = ARCHIVES[name].url
    fault = _why_unreachable(url)
    if fault:
        say(f"{name} can't be downloaded from {url} ({fault})")
        _mark(failed)
        return None
    return _download(name, folder, say)


def _mark(path: Path) -> None:
    """Leave a note; where the cache can't be written every start tries again, which costs seconds."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError:
        return


def _why_unreachable(url: str) -> str:
    """Ask for the first byte of a file; say why it doesn't come, or nothing. A look-up of names can hang: a thread."""
    answer: list[str] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=START_SECONDS) as response:
                response.read(1)
            answer.append("")
        except (OSError, ValueError) as error:
            answer.append(str(getattr(error, "reason", error)) or type(error).__name__)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(START_SECONDS)
    return answer[0] if answer else f"no answer within {START_SECONDS:.0f} s"


def _download(name: str, folder: Path, say: Say) -> Source | None:
    from torchvision import datasets

    say(f"downloading {name} to {folder}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        getattr(datasets, ARCHIVES[name].torchvision_class)(folder, download=True)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"the download of {ARCHIVES[name].url} failed: {str(error).splitlines()[0]}") from error
    return _archive(name, folder)
