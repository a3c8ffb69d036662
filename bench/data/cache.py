"""Decoded data sets on disk: built once by whoever asks first, verified at every start, mapped.

A set is a sealed folder of .npy files. It is built under a file lock: ranks that start at once
build it once. A folder that doesn't verify is built anew, and that is said. No torch.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.lock import locked
from bench.results.sealed_folder import (
    ManifestFormat,
    check_files,
    hash_file_in_blocks,
    read_manifest,
    seal_into_place,
    start_aside,
)
from zoo.cause import first_line

FORMAT = 1  # of the arrays and the manifest; another number makes another folder
MANIFEST_FORMAT = ManifestFormat(
    checksums="sha256",
    seal="sum",
    hash_file=hash_file_in_blocks,
    sealed=("stamp", "facts", "sha256"),
)
CHUNK = 4096  # images that are tallied at a time
Facts = dict[str, Any]  # what a manifest keeps about a set, as JSON
Say = Callable[[str], None]


def user_cache() -> Path:
    """Name the user's cache folder of this project; it needn't exist.

    ValueError for a user who has no home.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "zoometry"
    try:
        return Path.home() / ".cache" / "zoometry"
    except RuntimeError as error:
        # A container's user may be a number without a name, and without a line in /etc/passwd.
        raise ValueError(
            f"user {os.getuid()} has no home folder: set HOME, or XDG_CACHE_HOME, to a folder that "
            "can be written"
        ) from error


def writable_cache(say: Say) -> Path:
    """Make the folder for decoded sets.

    The user's cache, or a private temporary folder if that can't be written.
    """
    try:
        folder = user_cache() / "decoded"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        fault = f"the cache {folder} can't be written ({error.strerror})"
    except ValueError as error:
        fault = first_line(error)
    aside = Path(tempfile.gettempdir()) / f"zoometry-{os.getuid()}"
    say(f"{fault}; decoded data goes to {aside}")
    aside.mkdir(mode=0o700, exist_ok=True)
    # In a temporary folder that all may write to, anybody may have made it before.
    if aside.stat().st_uid != os.getuid():
        raise ValueError(
            f"{aside} belongs to another user: set XDG_CACHE_HOME to a folder that you can write"
        )
    return aside


def open_cached(
    name: str,
    identity: str,
    *,
    stamp: str,
    build: Callable[[Path], Facts],
    say: Say,
    timeout: float,
) -> tuple[Path, Facts]:
    """Return the folder of a decoded set and its facts.

    `build(folder)` fills it if it isn't there. `identity` says which set it is (sources and sizes),
    `stamp` in which state its sources are: another stamp rebuilds the same folder. ValueError if
    the folder can't be written, or who is filling it doesn't get on for `timeout` seconds.
    """
    folder = _place_of(name, identity, say)
    with locked(folder, fcntl.LOCK_SH, say, timeout=timeout), suppress(ValueError):
        return folder, verify(folder, stamp)
    with locked(folder, fcntl.LOCK_EX, say, timeout=timeout):
        try:
            # Another rank may have built it while this one waited for the lock.
            return folder, verify(folder, stamp)
        except ValueError as fault:
            if folder.exists():
                say(f"the cache {fault}: building it anew")
        return folder, _build(folder, stamp, build)


def find_cached(
    name: str, identity: str, *, stamp: str, say: Say, timeout: float
) -> tuple[Path, Facts] | None:
    """Return the folder of what `open_cached` has built and its facts, if it is there and whole."""
    folder = _place_of(name, identity, say)
    with locked(folder, fcntl.LOCK_SH, say, timeout=timeout):
        try:
            return folder, verify(folder, stamp)
        except ValueError:
            return None


@contextmanager
def making_alone(name: str, identity: str, *, say: Say, timeout: float) -> Iterator[None]:
    """Let one process at a time make what isn't there, for an `open_cached` that only stores it.

    ValueError if the one that makes it doesn't get on for `timeout` seconds.
    """
    folder = _place_of(name, identity, say)
    with locked(folder.with_name(f"{folder.name}-made"), fcntl.LOCK_EX, say, timeout=timeout):
        yield


def _place_of(name: str, identity: str, say: Say) -> Path:
    key = hashlib.sha256(f"{FORMAT} {name} {identity}".encode()).hexdigest()
    return writable_cache(say) / f"{name}-{key[:12]}"


def verify(folder: Path, stamp: str) -> Facts:
    """Check a decoded set against its manifest and return its facts.

    ValueError says what is damaged, or that the set is of an older state of its source.
    """
    manifest = read_manifest(folder, MANIFEST_FORMAT)
    if manifest["stamp"] != stamp:
        raise ValueError(f"{folder} is of an older state of its source")
    check_files(folder, manifest, MANIFEST_FORMAT)
    facts: Facts = manifest["facts"]
    return facts


def _build(folder: Path, stamp: str, build: Callable[[Path], Facts]) -> Facts:
    # What a killed builder left is removed: the lock says that nobody else builds.
    for left in folder.parent.glob(f".{folder.name}.*.part"):
        shutil.rmtree(left, ignore_errors=True)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        start_aside(aside)
        # Through JSON, so that whoever builds has the same facts as whoever reads them later.
        facts: Facts = json.loads(json.dumps(build(aside)))
        seal_into_place(aside, folder, {"stamp": stamp, "facts": facts}, MANIFEST_FORMAT)
    except OSError as error:
        raise ValueError(
            f"decoded data can't be written to {folder} ({error.strerror or error}): "
            "free some space there or set XDG_CACHE_HOME to another folder"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return facts


@dataclass(frozen=True)
class Decoded:
    """One decoded set: images (N, S, S, C) uint8, labels (N,) and coarse labels (N,) or None."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    coarse: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Names:
    """Names of the classes and superclasses; empty where the files have none."""

    classes: tuple[str, ...] = ()
    superclasses: tuple[str, ...] = ()


def sort_canonically(decoded: Decoded) -> Decoded:
    """Put a set in canonical order: by the sha256 of each image's pixels, then by label."""
    # The label decides between equal images.
    sums = [hashlib.sha256(image.tobytes()).digest() for image in decoded.images]
    order = sorted(range(len(sums)), key=lambda row: (sums[row], decoded.labels[row]))
    coarse = None if decoded.coarse is None else decoded.coarse[order]
    return Decoded(decoded.images[order], decoded.labels[order], coarse)


class Tally:
    """What a set's images add up to, taken in chunk by chunk.

    `shape` is that of them all, (N, S, S, C).
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.num_images = shape[0]
        self.total = hashlib.sha256(str(shape).encode())
        self.counts = np.zeros((shape[-1], 256), np.int64)

    def add(self, images: NDArray[np.uint8]) -> None:
        """Take in the next images (n, S, S, C)."""
        self.total.update(np.ascontiguousarray(images).data)
        for channel in range(images.shape[-1]):
            values = images[..., channel].ravel()
            self.counts[channel] += np.bincount(values, minlength=256)

    def checksum(self, labels: NDArray[np.int64]) -> str:
        """Compute the sha256 of the set: its shape, pixels and labels (little-endian 64 bits)."""
        # A copy, so that more images may be added after it.
        total = self.total.copy()
        total.update(labels.astype("<i8").tobytes())
        return total.hexdigest()

    def statistics(self) -> tuple[list[float], list[float]]:
        """Compute each channel's mean and standard deviation on the scale 0 to 1.

        From exact integer counts, so that they don't depend on the order of the images.
        """
        levels = np.arange(256)
        num_pixels = self.counts.sum(1)
        mean = self.counts @ levels / num_pixels
        mean_of_squares = self.counts @ levels**2 / num_pixels
        # Rounding may leave the variance of a channel that hardly changes a little below zero.
        std = np.sqrt(np.maximum(mean_of_squares - mean**2, 0))
        return (mean / 255).tolist(), (std / 255).tolist()


def tally_images(images: NDArray[np.uint8]) -> Tally:
    """Add up a set that is there."""
    tally = Tally(images.shape)
    for start in range(0, len(images), CHUNK):
        tally.add(images[start : start + CHUNK])
    return tally


def find_superclasses(decoded: Decoded) -> list[int]:
    """Read each class's superclass off the labels of the images.

    Empty without coarse labels, ValueError if a class has two.
    """
    if decoded.coarse is None:
        return []
    superclass_of: dict[int, int] = {}
    labels = zip(decoded.labels.tolist(), decoded.coarse.tolist(), strict=True)
    for fine, coarse in labels:
        if superclass_of.setdefault(fine, coarse) != coarse:
            raise ValueError("the coarse labels are damaged: one class lies in two superclasses")
    return [superclass_of[fine] for fine in sorted(superclass_of)]


def reserve_images(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint8]]:
    """Map a new .npy file of this shape whose space on the disk is taken; OSError if there is none.

    A mapped file is full of holes until it is written to, and a disk that is full by then kills the
    process (SIGBUS).
    """
    images = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return images


def write_set(folder: Path, part: str, decoded: Decoded, margin: int) -> None:
    """Store a set inside a margin of zeros.

    `PART_images.npy` (N, S + 2 margin, S + 2 margin, C), `PART_labels.npy`.
    """
    border = ((0, 0), (margin, margin), (margin, margin), (0, 0))
    padded = np.pad(decoded.images, border)
    np.save(folder / f"{part}_images.npy", padded)
    np.save(folder / f"{part}_labels.npy", decoded.labels)
