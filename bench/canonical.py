"""What is stored of a data set: its order, its margin, its checksum and the figures of its pixels. numpy alone."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CHUNK = 4096  # images that are touched at a time


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


def canonical(one: Decoded) -> Decoded:
    """Put a set in canonical order: by the sha256 of each image's pixels, then by label."""
    sums = [hashlib.sha256(image.tobytes()).digest() for image in one.images]
    order = sorted(range(len(sums)), key=lambda row: (sums[row], one.labels[row]))
    return Decoded(one.images[order], one.labels[order], None if one.coarse is None else one.coarse[order])


class Tally:
    """What a set's images add up to, taken in chunk by chunk: `shape` is that of them all, (N, S, S, C)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.total = hashlib.sha256(str(shape).encode())
        self.counts = np.zeros((shape[-1], 256), np.int64)

    def add(self, images: NDArray[np.uint8]) -> None:
        """Take in the next images (n, S, S, C)."""
        self.total.update(np.ascontiguousarray(images).data)
        for channel in range(images.shape[-1]):
            self.counts[channel] += np.bincount(images[..., channel].ravel(), minlength=256)

    def checksum(self, labels: NDArray[np.int64]) -> str:
        """Compute the sha256 of the set: its shape, pixels and labels (little-endian 64 bits)."""
        total = self.total.copy()
        total.update(labels.astype("<i8").tobytes())
        return total.hexdigest()

    def statistics(self) -> tuple[list[float], list[float]]:
        """Compute mean and deviation of each channel on the scale 0 to 1, from exact integer counts."""
        levels, num_pixels = np.arange(256), self.counts.sum(1)
        mean = self.counts @ levels / num_pixels
        std = np.sqrt(self.counts @ levels**2 / num_pixels - mean**2)
        return (mean / 255).tolist(), (std / 255).tolist()


def tally(images: NDArray[np.uint8]) -> Tally:
    """Add up a set that is there."""
    whole = Tally(images.shape)
    for start in range(0, len(images), CHUNK):
        whole.add(images[start : start + CHUNK])
    return whole


def superclasses(one: Decoded) -> list[int]:
    """Read each class's superclass off the images; empty without coarse labels, ValueError if a class has two."""
    if one.coarse is None:
        return []
    pairs = sorted({(int(fine), int(coarse)) for fine, coarse in zip(one.labels, one.coarse, strict=True)})
    if len(pairs) != len({fine for fine, _ in pairs}):
        raise ValueError("the coarse labels are damaged: one class lies in two superclasses")
    return [coarse for _, coarse in pairs]


def write_set(folder: Path, part: str, one: Decoded, margin: int) -> None:
    """Store a set inside a margin of zeros: `PART_images.npy` (N, S + 2 margin, S + 2 margin, C), `PART_labels.npy`."""
    border = ((0, 0), (margin, margin), (margin, margin), (0, 0))
    np.save(folder / f"{part}_images.npy", np.pad(one.images, border))
    np.save(folder / f"{part}_labels.npy", one.labels)
