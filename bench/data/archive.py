"""Data sets from their official archives, by torchvision's own readers and checksums.

Importing this imports torch.
"""

import bz2
import gzip
import lzma
import pickle
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5

from bench.data.cache import Decoded, Names
from bench.data.source import ARCHIVES, Layout, Source, official_name
from zoo.cause import first_line

# The md5 sums of what is inside MNIST's files, which no publisher gives: computed from files whose
# outer sums are torchvision's, and the same in other people's tables. A packer's name and time
# change the outer sum and no image.
UNPACKED_MD5 = {
    "mnist": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}
DAMAGED_PACKING = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    RuntimeError,  # of zipfile, where a password is asked for
)
OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}

Read = tuple[Decoded, Decoded, Names]  # training set, test set and names
Reader = Callable[[Source, Any, Path], Read]


def read_archive(source: Source) -> Read:
    """Read training set, test set and names; ValueError names a file whose md5 sum is wrong."""
    archive = ARCHIVES[source.name]
    dataset_class = getattr(datasets, archive.torchvision_class)
    with tempfile.TemporaryDirectory() as scratch:
        return READERS[archive.layout](source, dataset_class, Path(scratch))


def check_md5(path: Path, expected: str, *, where: str = "") -> None:
    """Compare a file with its published md5 sum.

    ValueError names the file, or `where` it came from, and both sums.
    """
    found = calculate_md5(path) if path.is_file() else "no file"
    if found != expected:
        raise ValueError(
            f"{where or path}: md5 {found}, expected {expected}: "
            "the file is damaged or altered, fetch it again"
        )


def read_cifar(source: Source, dataset_class: Any, scratch: Path) -> Read:
    """Read CIFAR's pickled batches, unpacked into `scratch` where they are packed."""
    archive = ARCHIVES[source.name]
    meta = dataset_class.meta
    listed = [*dataset_class.train_list, *dataset_class.test_list]
    sums = {**dict(listed), meta["filename"]: meta["md5"]}
    root, packed = source.folder.parent, ""
    if not source.test:  # one file holds all
        root, packed = scratch, f"{source.files[0]}: "
        _unpack(source.files[0], list(sums), scratch / archive.folder)
    folder = root / archive.folder
    # Checked here, since torchvision's own check doesn't say which file is wrong. What they are
    # packed in isn't: another packer gives the same files another sum.
    for file, md5 in sums.items():
        check_md5(folder / file, md5, where=f"{packed}{file}" if packed else "")
    opened = dataset_class(root, train=True)
    train = _decoded_cifar(opened, folder, dataset_class.train_list)
    test = _decoded_cifar(dataset_class(root, train=False), folder, dataset_class.test_list)
    superclasses = _unpickle(folder / meta["filename"]).get("coarse_label_names", ())
    return train, test, Names(tuple(opened.classes), tuple(superclasses))


def _unpack(packed: Path, names: list[str], to: Path) -> None:
    """Unpack the files of these names from a zip or tar file, however it is compressed.

    ValueError if it is damaged or lacks one.
    """
    to.mkdir()
    unpack = _unpack_zip if packed.suffix == ".zip" else _unpack_tar
    try:
        unpack(packed, names, to)
        lacking = [name for name in names if not (to / name).is_file()]
        if lacking:
            raise KeyError(f"it holds no {lacking[0]}")
    except (*DAMAGED_PACKING, KeyError) as error:
        raise ValueError(
            f"{packed}: can't be unpacked ({first_line(error)}): fetch it again"
        ) from error


# Only what is read by its name is written, and nowhere else: nothing has been checked yet.
def _unpack_tar(packed: Path, names: list[str], to: Path) -> None:
    with tarfile.open(packed) as tar:
        for member in tar:
            name = PurePosixPath(member.name).name
            content = tar.extractfile(member) if name in names and member.isfile() else None
            if content is not None:
                _write(content, to / name)


def _unpack_zip(packed: Path, names: list[str], to: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        for member in archive.infolist():
            name = PurePosixPath(member.filename).name
            if name in names and not member.is_dir():
                _write(archive.open(member), to / name)


def _write(content: IO[bytes], to: Path) -> None:
    with content, to.open("wb") as file:
        shutil.copyfileobj(content, file)


def _decoded_cifar(opened: Any, folder: Path, files: list[tuple[str, str]]) -> Decoded:
    """Take torchvision's pixels and labels; the coarse labels, which it doesn't read, from disk."""
    coarse: list[int] = []
    for file, _ in files:
        coarse.extend(_unpickle(folder / file).get("coarse_labels", ()))
    labels = np.asarray(opened.targets, np.int64)
    # Only CIFAR-100 has coarse labels.
    coarse_labels = np.asarray(coarse, np.int64) if coarse else None
    return Decoded(np.asarray(opened.data), labels, coarse_labels)


def _unpickle(path: Path) -> dict[str, Any]:
    """Load one of the archive's files.

    Unpickling runs what the file says: its md5 sum was checked before.
    """
    with path.open("rb") as file:
        content: dict[str, Any] = pickle.load(file, encoding="latin1")
    return content


def read_idx(source: Source, dataset_class: Any, scratch: Path) -> Read:
    """Read MNIST's format, packed or not.

    torchvision reads only unpacked files that lie under its own root.
    """
    raw = scratch / ARCHIVES[source.name].folder
    raw.mkdir(parents=True)
    published = dict(dataset_class.resources)
    for path in source.files:
        name = official_name(path.name)
        if not _unpack_file(path, raw / name):
            check_md5(path, published[f"{name}.gz"])
        # The published sum is of the gzipped file, and says nothing of one that was packed again.
        if path.name not in published or calculate_md5(path) != published[path.name]:
            check_md5(raw / name, UNPACKED_MD5[source.name][name], where=f"{path} (unpacked)")
    train = dataset_class(scratch, train=True)
    test = dataset_class(scratch, train=False)
    return _decoded_idx(train), _decoded_idx(test), Names(tuple(dataset_class.classes))


def _unpack_file(path: Path, to: Path) -> bool:
    """Unpack one file, or copy one that isn't packed; return whether it is whole."""
    try:
        _write(OPENERS.get(path.suffix, open)(path, "rb"), to)
    except DAMAGED_PACKING:
        return False
    return True


def _decoded_idx(opened: Any) -> Decoded:
    labels = opened.targets.numpy().astype(np.int64)
    return Decoded(opened.data.numpy()[..., None], labels)  # a channel of their own: (N, 28, 28, 1)


def read_svhn(source: Source, dataset_class: Any, scratch: Path) -> Read:
    """Read SVHN's MATLAB files, packed or not, whose label 10 is the digit 0.

    The published sums are of the files; of the arrays inside none is known, so that a file that was
    saved again is refused.
    """
    for split, path in zip(("train", "test"), source.files, strict=True):
        unpacked = scratch / official_name(path.name)
        whole = _unpack_file(path, unpacked)
        expected = dataset_class.split_list[split][2]
        check_md5(unpacked if whole else path, expected, where=str(path))
    train = dataset_class(scratch, split="train")
    test = dataset_class(scratch, split="test")
    return _decoded_svhn(train), _decoded_svhn(test), Names(tuple("0123456789"))


def _decoded_svhn(opened: Any) -> Decoded:
    images = opened.data.transpose(0, 2, 3, 1)  # torchvision gives (N, C, H, W)
    return Decoded(np.ascontiguousarray(images), opened.labels)


READERS: dict[Layout, Reader] = {"cifar": read_cifar, "idx": read_idx, "svhn": read_svhn}
