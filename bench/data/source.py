"""Where the files of a data set are: found on disk, or fetched. Nothing is decoded here. No torch until a download.

A set is looked for in the folder itself, in DIR/NAME and in the sub-folders of the hub's and
torchvision's layouts.
"""

import fcntl
import hashlib
import os
import socket
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.data.cache import Say, locked, user_cache

Kind = Literal["parquet", "archive", "embedded", "folder"]
START_SECONDS = 8.0  # a download that hasn't begun by then is given up; 10 s with all around it
STALL_SECONDS = 30.0  # a download that stands still for so long has broken off
RETRY_SECONDS = (
    60.0  # ranks that start together must agree: after a failed try nobody tries again so soon
)


@dataclass(frozen=True)
class Source:
    """The files that one data set is read from, in `folder`."""

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
        """In which state the files are, however the folder was written.

        Any change decodes them anew.
        """
        total = hashlib.sha256()
        for path in self.files:
            stat = path.stat()
            total.update(
                f"{path.relative_to(self.folder)} {stat.st_size} {stat.st_mtime_ns}\n".encode()
            )
        return total.hexdigest()


@dataclass(frozen=True)
class Archive:
    """An official archive: torchvision's class for it, its files as they lie unpacked, and where it is fetched from.

    `base` is the folder of the files under torchvision's root; `packed` the one file that they come
    in, if they do.
    """

    torchvision_class: str
    base: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    url: str
    packed: str = ""


IDX = ("images-idx3-ubyte", "labels-idx1-ubyte")
CIFAR_SITE = "https://www.cs.toronto.edu/~kriz/"
ARCHIVES = {
    "cifar100": Archive(
        "CIFAR100",
        "cifar-100-python",
        ("train", "meta"),
        ("test",),
        f"{CIFAR_SITE}cifar-100-python.tar.gz",
        packed="cifar-100-python.tar.gz",
    ),
    "cifar10": Archive(
        "CIFAR10",
        "cifar-10-batches-py",
        (*(f"data_batch_{i}" for i in range(1, 6)), "batches.meta"),
        ("test_batch",),
        f"{CIFAR_SITE}cifar-10-python.tar.gz",
        packed="cifar-10-python.tar.gz",
    ),
    "mnist": Archive(
        "MNIST",
        "MNIST/raw",
        tuple(f"train-{kind}" for kind in IDX),
        tuple(f"t10k-{kind}" for kind in IDX),
        "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz",
    ),
    "fashion_mnist": Archive(
        "FashionMNIST",
        "FashionMNIST/raw",
        tuple(f"train-{kind}" for kind in IDX),
        tuple(f"t10k-{kind}" for kind in IDX),
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz",
    ),
    "svhn": Archive(
        "SVHN",
        "",
        ("train_32x32.mat",),
        ("test_32x32.mat",),
        "http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
    ),
}
LABEL_COLUMNS = {"cifar100": "fine_label", "cifar10": "label"}
PARQUET_FOLDERS = ("", "data", "plain_text")


def roots(data_dir: Path | None) -> list[Path]:
    """List the folders to look in.

    `data_dir` alone if it is given, else $ZOOMETRY_DATA and the user's cache.
    """
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
    archive = ARCHIVES[name]
    for place in (
        place
        for root in roots(data_dir)
        for folder in (root, root / name)
        for place in _places(name, folder)
    ):
        lacking = [file for file in archive.train + archive.test if not _either(place / file)]
        if lacking and len(lacking) < len(archive.train + archive.test):
            return ValueError(
                f"data set {name!r} in {place} lacks {', '.join(lacking)} (from {archive.url})"
            )
    files = archive.packed or ", ".join(archive.train + archive.test)
    hub = "train-*.parquet and test-*.parquet, or " if name in LABEL_COLUMNS else ""
    return ValueError(
        f"data set {name!r} not found in {looked}: put {hub}{files} there (from {archive.url})"
    )


def _parquet(name: str, folder: Path) -> Source | None:
    for place in (folder / sub for sub in PARQUET_FOLDERS if name in LABEL_COLUMNS):
        train, test = sorted(place.glob("train-*.parquet")), sorted(place.glob("test-*.parquet"))
        if train and test and LABEL_COLUMNS[name] in open_parquet(train[0]).schema_arrow.names:
            return Source(name, "parquet", place, tuple(train), tuple(test))
    return None


def open_parquet(path: Path) -> Any:
    """Open a parquet file (pyarrow.parquet.ParquetFile).

    ValueError with its name if its end is missing or damaged.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(
            f"{path}: truncated or not a parquet file ({str(error).splitlines()[0]})"
        ) from error


def _archive(name: str, folder: Path) -> Source | None:
    """Find an archive's files, gzipped or not, under torchvision's root or in the folder itself.

    Else its one file.
    """
    archive = ARCHIVES[name]
    for place in _places(name, folder):
        for suffix in ("", ".gz"):
            train, test = (
                tuple(place / (file + suffix) for file in part)
                for part in (archive.train, archive.test)
            )
            if all(path.is_file() for path in train + test):
                return Source(name, "archive", place, train, test)
    packed = folder / archive.packed
    return Source(name, "archive", folder, (packed,)) if packed.is_file() else None


def _places(name: str, folder: Path) -> list[Path]:
    """Where an archive's unpacked files may lie.

    Under torchvision's root, or in the folder itself.
    """
    archive = ARCHIVES[name]
    inside = [folder] if not archive.packed or folder.name == archive.base else []
    return [folder / archive.base, *inside]


def _either(path: Path) -> bool:
    """Whether a file is there, gzipped or not."""
    return path.is_file() or path.with_name(path.name + ".gz").is_file()


def fetch(name: str, say: Say) -> Source | None:
    """Download an official archive into the user's cache; None, said, if that can't start within 10 s.

    One process downloads, the others wait for it. Progress is torchvision's own bar. None, said,
    too if the download breaks off, stands still or has a wrong md5 sum.
    """
    folder = user_cache() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "download", fcntl.LOCK_EX):
            return _archive(name, folder) or _fetch(name, folder, say)
    except OSError as error:
        say(f"{name} can't be downloaded to {folder} ({error.strerror or error})")
        return None


def _fetch(name: str, folder: Path, say: Say) -> Source | None:
    failed, url = folder / "download-failed", ARCHIVES[name].url
    if failed.exists() and time.time() - failed.stat().st_mtime < RETRY_SECONDS:
        say(f"{name}: a download has just failed; not trying again for {RETRY_SECONDS:.0f} s")
        return None
    fault = _why_unreachable(url)
    if not fault:
        say(f"downloading {name} to {folder}")
        fault = _download(name, folder)
    if fault:
        say(f"{name} can't be downloaded from {url} ({fault})")
        failed.touch()
    return None if fault else _archive(name, folder)


def _why_unreachable(url: str) -> str:
    """Ask for the first byte of a file; say why it doesn't come, or nothing.

    A look-up of names can hang: a thread.
    """
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


def _download(name: str, folder: Path) -> str:
    """Let torchvision download and check an archive; say what went wrong, or nothing."""
    from torchvision import datasets

    kind = getattr(datasets, ARCHIVES[name].torchvision_class)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)
    try:
        for part in ({"split": "train"}, {"split": "test"}) if name == "svhn" else ({},):
            kind(folder, download=True, **part)
    except (OSError, EOFError, RuntimeError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    finally:
        socket.setdefaulttimeout(before)
    return ""
