"""What is drawn for each sample of an epoch: order, windows, boxes, partners. numpy alone, so that a draw is the same
on every device; `augment.py` does what was drawn.

A sample is a number: the row of its image, plus the size of the set for each time it was there
before in the epoch (only sampling by class repeats images).
"""

from dataclasses import dataclass
from enum import IntEnum, auto

import numpy as np
from numpy.typing import NDArray

Key = int | NDArray[np.int64] | NDArray[np.uint64]
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST = np.uint64(0xBF58476D1CE4E5B9)
SECOND = np.uint64(0x94D049BB133111EB)


def mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Take one step of SplitMix64 from each state."""
    z = state + GOLDEN
    z = (z ^ (z >> np.uint64(30))) * FIRST
    z = (z ^ (z >> np.uint64(27))) * SECOND
    return np.asarray(z ^ (z >> np.uint64(31)))


def seed_of(*numbers: int) -> int:
    """63 bits of these numbers, for the seed of a generator.

    Published runs rest on it: it may not change.
    """
    state = np.zeros(1, np.uint64)
    for number in numbers:
        state = mix(state + np.uint64(number))
    return int(state[0]) >> 1


def draw(*keys: Key) -> NDArray[np.uint64]:
    """Draw 64 random bits for each combination of the keys, which broadcast as arrays do (negative ones wrap)."""
    state = np.zeros(1, np.uint64)
    for key in keys:
        counted = (
            np.asarray(key) if isinstance(key, np.ndarray) else np.asarray([key % 2**64], np.uint64)
        )
        state = mix(state ^ counted.astype(np.uint64))
    return state


def below(bits: NDArray[np.uint64], limit: int) -> NDArray[np.int64]:
    """Map 64 random bits to integers 0 <= i < limit (limit at most 2^32.

    Bias under limit / 2^32).
    """
    return np.asarray(((bits >> np.uint64(32)) * np.uint64(limit)) >> np.uint64(32)).astype(
        np.int64
    )


def unit(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Map 64 random bits to floats 0 <= u < 1 with 53 bits each, exactly."""
    return np.asarray((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def permutation(n: int, *keys: int) -> NDArray[np.int64]:
    """Permute range(n) by sorting one draw an index; equal draws keep their order."""
    return np.argsort(draw(*keys, np.arange(n)), kind="stable").astype(np.int64)


Samples = NDArray[np.int64]


class Purpose(IntEnum):
    """What a draw is for: the key behind seed and epoch.

    Numbers once used keep their meaning: append only.
    """

    ORDER = 0
    CROP_Y = auto()
    CROP_X = auto()
    MIRROR = auto()
    PARTNER = auto()
    MIX_KIND = auto()
    MIX_SHARE = auto()
    BOX_Y = auto()
    BOX_X = auto()
    ANGLE = auto()
    COLOUR = auto()
    CUTOUT_Y = auto()
    CUTOUT_X = auto()
    ERASING = auto()
    ERASING_AREA = auto()
    ERASING_RATIO = auto()
    ERASING_Y = auto()
    ERASING_X = auto()
    TRIVIAL_KIND = auto()
    TRIVIAL_LEVEL = auto()
    TRIVIAL_SIGN = auto()
    CLASS = auto()


@dataclass(frozen=True)
class Boxes:
    """A rectangle for each sample, in pixels: rows top <= y < bottom, columns left <= x < right.

    All (n,).
    """

    top: NDArray[np.int64]
    left: NDArray[np.int64]
    bottom: NDArray[np.int64]
    right: NDArray[np.int64]

    @property
    def area(self) -> NDArray[np.int64]:
        """Pixels inside."""
        return (self.bottom - self.top) * (self.right - self.left)


@dataclass(frozen=True)
class Draws:
    """The draws of one epoch of one seed."""

    seed: int
    epoch: int

    def uniform(self, purpose: Purpose, samples: Samples, *more: int) -> NDArray[np.float64]:
        """Draw 0 <= u < 1 for each sample."""
        return unit(draw(self.seed, self.epoch, purpose, samples, *more))

    def below(self, purpose: Purpose, samples: Samples, limit: int) -> NDArray[np.int64]:
        """Draw 0 <= i < limit for each sample."""
        return below(draw(self.seed, self.epoch, purpose, samples), limit)

    def normal(self, purpose: Purpose, samples: Samples, num_values: int) -> NDArray[np.float64]:
        """Draw (n, num_values) from the standard normal distribution (Box and Muller 1958)."""
        first, second = (
            unit(
                draw(self.seed, self.epoch, purpose, samples[:, None], np.arange(num_values), part)
            )
            for part in range(2)
        )
        return np.asarray(np.sqrt(-2 * np.log(1 - first)) * np.cos(2 * np.pi * second))

    def order(self, rows: NDArray[np.int64]) -> Samples:
        """Put the training rows in the order of this epoch."""
        return rows[permutation(len(rows), self.seed, self.epoch, Purpose.ORDER)]

    def balanced_order(self, rows: NDArray[np.int64], labels: NDArray[np.int64]) -> Samples:
        """Draw an epoch of as many samples that holds each class equally often; small classes come round again.

        `labels` (N,) are those of the whole set. An image that is there again is another sample,
        with other draws.
        """
        classes = np.unique(labels[rows])
        share = -(-len(rows) // len(classes))
        parts = []
        for label in classes:
            own = rows[labels[rows] == label]
            own = own[permutation(len(own), self.seed, self.epoch, Purpose.CLASS, int(label))]
            rounds, place = np.divmod(np.arange(share), len(own))
            parts.append(own[place] + rounds * len(labels))
        return self.order(np.concatenate(parts))[: len(rows)]

    def windows(self, samples: Samples, num_places: int) -> tuple[Samples, Samples]:
        """Draw the window's place (dy, dx) for a random crop."""
        return self.below(Purpose.CROP_Y, samples, num_places), self.below(
            Purpose.CROP_X, samples, num_places
        )

    def mirrored(self, samples: Samples) -> NDArray[np.bool_]:
        """Draw which samples are mirrored: one in two."""
        return self.below(Purpose.MIRROR, samples, 2) > 0

    def cutout_boxes(self, samples: Samples, size: int) -> Boxes:
        """Draw squares of a quarter of the side, centred anywhere in the image, so that some stick out.

        DeVries and Taylor 2017 took 8 of 32 px for CIFAR-100.
        """
        centre_y, centre_x = (
            self.below(p, samples, size) for p in (Purpose.CUTOUT_Y, Purpose.CUTOUT_X)
        )
        return clipped_boxes(centre_y, centre_x, np.full(len(samples), size // 4), size)

    def mix_boxes(self, samples: Samples, share: NDArray[np.float64], size: int) -> Boxes:
        """Draw CutMix's boxes, whose area before clipping is 1 - `share` of the image (Yun et al.

        2019).
        """
        side = (size * np.sqrt(1 - share)).astype(np.int64)
        centre_y, centre_x = (self.below(p, samples, size) for p in (Purpose.BOX_Y, Purpose.BOX_X))
        return clipped_boxes(centre_y, centre_x, side, size)

    def erasing_boxes(self, samples: Samples, size: int) -> Boxes:
        """Draw random erasing's boxes (Zhong et al. 2017, in torchvision's form): none for one sample in two, else

        2 to 33 % of the image with a ratio of sides of 0.3 to 3.3. Of ten tries the first that fits
        is taken.
        """
        shape = (len(samples), ERASING_TRIES)
        height, width = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for i in range(ERASING_TRIES):
            area = size**2 * (0.02 + 0.31 * self.uniform(Purpose.ERASING_AREA, samples, i))
            ratio = np.exp(
                np.log(0.3) + np.log(3.3 / 0.3) * self.uniform(Purpose.ERASING_RATIO, samples, i)
            )
            height[:, i] = np.round(np.sqrt(area * ratio))
            width[:, i] = np.round(np.sqrt(area / ratio))
        first = ((height < size) & (width < size)).argmax(
            1
        )  # ten misfits in a row don't happen: the chance is 1e-9
        chosen = (self.below(Purpose.ERASING, samples, 2) > 0).astype(np.int64)
        height, width = (
            sides[np.arange(len(samples)), first] * chosen for sides in (height, width)
        )
        top = (self.uniform(Purpose.ERASING_Y, samples) * (size - height + 1)).astype(np.int64)
        left = (self.uniform(Purpose.ERASING_X, samples) * (size - width + 1)).astype(np.int64)
        return Boxes(top, left, top + height, left + width)


ERASING_TRIES = 10


def clipped_boxes(
    centre_y: NDArray[np.int64], centre_x: NDArray[np.int64], side: NDArray[np.int64], size: int
) -> Boxes:
    """Lay squares around their centres and clip them to the image."""
    half = side // 2
    return Boxes(
        np.maximum(centre_y - half, 0),
        np.maximum(centre_x - half, 0),
        np.minimum(centre_y + half, size),
        np.minimum(centre_x + half, size),
    )
