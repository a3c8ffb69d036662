"""Where the files of a data set are. Nothing is decoded or fetched here.

A set is looked for in the folder itself, in DIR/NAME and in the sub-folders of the hub's and
torchvision's layouts.
"""

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.data.cache import user_cache
from zoo.cause import first_line

Kind = Literal["parquet", "archive", "embedded"]
Layout = Literal["cifar", "idx", "svhn"]
PACKINGS = (".gz", ".xz", ".bz2")  # of one file
PACKED_FOLDERS = (".tar.gz", ".tgz", ".tar", ".tar.xz", ".tar.bz2", ".zip")
# Where Debian's packages of data sets lie, as dataset-fashion-mnist does.
INSTALLED = Path("/usr/share/datasets")
PARQUET_FOLDERS = ("", "data", "plain_text")  # of the hub's repositories


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
        # By size and time: to read every file at each start would cost more than to map the cache.
        for path in self.files:
            stat = path.stat()
            name = path.relative_to(self.folder)
            total.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        return total.hexdigest()


@dataclass(frozen=True)
class Archive:
    """A data set that torchvision knows: who reads its official files, and where they are.

    `layout` is how the files are read (READERS in archive.py). `folder` is where they lie unpacked
    under torchvision's root, `packed` the one file that they come in, if they do. `label_column` is
    that of the hub's parquet files; without one there are none.
    """

    torchvision_class: str
    layout: Layout
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    url: str
    packed: str = ""
    label_column: str = ""


def mnist_archive(torchvision_class: str, url: str) -> Archive:
    """Describe a set in MNIST's format, of which `url` is the folder."""
    kinds = ("images-idx3-ubyte", "labels-idx1-ubyte")
    return Archive(
        torchvision_class,
        layout="idx",
        folder=f"{torchvision_class}/raw",
        train=tuple(f"train-{kind}" for kind in kinds),
        test=tuple(f"t10k-{kind}" for kind in kinds),
        url=f"{url}/train-images-idx3-ubyte.gz",
    )


# To add a data set of torchvision's, add a row.
ARCHIVES = {
    "cifar100": Archive(
        "CIFAR100",
        layout="cifar",
        folder="cifar-100-python",
        train=("train", "meta"),
        test=("test",),
        url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        packed="cifar-100-python.tar.gz",
        label_column="fine_label",
    ),
    "cifar10": Archive(
        "CIFAR10",
        layout="cifar",
        folder="cifar-10-batches-py",
        train=(*(f"data_batch_{number}" for number in range(1, 6)), "batches.meta"),
        test=("test_batch",),
        url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        packed="cifar-10-python.tar.gz",
        label_column="label",
    ),
    "mnist": mnist_archive("MNIST", "https://ossci-datasets.s3.amazonaws.com/mnist"),
    "fashion_mnist": mnist_archive(
        "FashionMNIST", "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
    ),
    "svhn": Archive(
        "SVHN",
        layout="svhn",
        folder="",
        train=("train_32x32.mat",),
        test=("test_32x32.mat",),
        url="http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
    ),
}


def list_roots(data_dir: Path | None) -> list[Path]:
    """List the folders to look in: `data_dir` alone, or where data may be that nobody names.

    That is $ZOOMETRY_DATA, the user's cache, and what the system has installed. ValueError if a
    folder that was named doesn't exist.
    """
    if data_dir is not None:
        _check_exists(data_dir, "--data-dir")
        return [data_dir]
    installed = [INSTALLED] if INSTALLED.is_dir() else []
    named = os.environ.get("ZOOMETRY_DATA")
    if not named:
        return [user_cache(), *installed]
    _check_exists(Path(named), "ZOOMETRY_DATA")
    with suppress(ValueError):  # a user without a home has no cache either
        return [Path(named), user_cache(), *installed]
    return [Path(named), *installed]


def _check_exists(folder: Path, what: str) -> None:
    if not folder.is_dir():
        raise ValueError(f"{what} {folder}: no such folder")


def _candidates(name: str, data_dir: Path | None) -> list[Path]:
    folders = []
    for root in list_roots(data_dir):
        folders += [root, root / name]
        # Debian's packages are named so.
        if "_" in name:
            folders.append(root / name.replace("_", "-"))
    return folders


def find_source(name: str, data_dir: Path | None) -> Source | None:
    """Find a set's files, parquet before archive; None if they aren't there."""
    for folder in _candidates(name, data_dir):
        source = _find_parquet(name, folder) or find_archive(name, folder)
        if source:
            return source
    return None


def explain_missing(name: str, data_dir: Path | None) -> str:
    """Say where a set was looked for and how to get it, or what a half of it lacks."""
    archive = ARCHIVES[name]
    files = archive.train + archive.test
    for folder in _candidates(name, data_dir):
        for place in _unpacked_places(archive, folder):
            there = {official_name(path.name) for path in place.glob("*")}
            lacking = [file for file in files if file not in there]
            if lacking and len(lacking) < len(files):
                names = ", ".join(lacking)
                return f"data set {name!r} in {place} lacks {names} (from {archive.url})"
    looked = ", ".join(f"{root} and {root / name}" for root in list_roots(data_dir))
    wanted = archive.packed or ", ".join(files)
    if archive.label_column:
        wanted = f"train-*.parquet and test-*.parquet, or {wanted}"
    return f"data set {name!r} not found in {looked}: put {wanted} there (from {archive.url})"


def _find_parquet(name: str, folder: Path) -> Source | None:
    column = ARCHIVES[name].label_column
    if not column:
        return None
    for place in (folder / inner for inner in PARQUET_FOLDERS):
        train = tuple(sorted(place.glob("train-*.parquet")))
        test = tuple(sorted(place.glob("test-*.parquet")))
        # The names of the files say nothing: only the columns tell one set from another.
        if train and test and column in open_parquet(train[0]).schema_arrow.names:
            return Source(name, "parquet", place, train, test)
    return None


def open_parquet(path: Path) -> Any:
    """Open a parquet file (pyarrow.parquet.ParquetFile).

    ValueError with its name if its end is missing or damaged.
    """
    # Imported here: it costs as much as all else that a start loads, and most sets don't need it.
    import pyarrow
    from pyarrow import parquet

    if not path.is_file():
        raise ValueError(f"{path}: not a regular file, or a link to nothing")
    try:
        return parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        reason = first_line(error)
        raise ValueError(f"{path}: truncated or not a parquet file ({reason})") from error


def find_archive(name: str, folder: Path) -> Source | None:
    """Find an archive's unpacked files, each packed or not, or else the one that holds them all.

    Under torchvision's root or in the folder itself.
    """
    archive = ARCHIVES[name]
    for place in _unpacked_places(archive, folder):
        there = {official_name(path.name): path for path in sorted(place.glob("*"), reverse=True)}
        files = archive.train + archive.test
        if all(file in there and there[file].is_file() for file in files):
            train = tuple(there[file] for file in archive.train)
            test = tuple(there[file] for file in archive.test)
            return Source(name, "archive", place, train, test)
    if not archive.packed:
        return None
    stem = archive.packed.removesuffix(PACKED_FOLDERS[0])
    for suffix in PACKED_FOLDERS:
        packed = folder / (stem + suffix)
        if packed.is_file():
            return Source(name, "archive", folder, (packed,))
    return None


def official_name(file: str) -> str:
    """Return how an archive's file is called unpacked; some write `train-images.idx3-ubyte`."""
    for packing in PACKINGS:
        file = file.removesuffix(packing)
    return file.replace(".idx", "-idx")


def _unpacked_places(archive: Archive, folder: Path) -> list[Path]:
    """List where unpacked files may lie: under torchvision's root, or in the folder itself."""
    places = [folder / archive.folder]
    # The files of a packed set have names like `train`: only their own folder is taken for theirs.
    if not archive.packed or folder.name == archive.folder:
        places.append(folder)
    return places
