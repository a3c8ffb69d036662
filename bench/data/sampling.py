"""Counter-based random numbers, and what is drawn from them for each sample of an epoch.

A draw is a function of its keys (seed, epoch, purpose, sample) and not of the draws before it, so
that a resume needs no generator's state and ranks needn't agree on one. numpy alone: a draw is the
same on every device. `augment.py` does what was drawn.

A sample is a number: the row of its image, plus the size of the set for each time that the image
came before in the epoch (only sampling by class repeats images).
"""

import math
from dataclasses import dataclass
from enum import IntEnum, auto
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Key = int | NDArray[np.int64] | NDArray[np.uint64]
Samples = NDArray[np.int64]

# SplitMix64's increment and multipliers (Steele, Lea and Flood 2014).
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST = np.uint64(0xBF58476D1CE4E5B9)
SECOND = np.uint64(0x94D049BB133111EB)

TRIES = 10  # to draw a box that fits into the image


class Shape(NamedTuple):
    """What shares of an image boxes take, and what ratios of height to width they have."""

    least_share: float
    share_range: float
    least_ratio: float
    most_ratio: float


# As torchvision does it: 2 to 33 % of the image, which is written as 0.31 since 0.33 - 0.02 is
# another float.
ERASED = Shape(0.02, 0.31, 0.3, 3.3)
# Szegedy et al. 2015, section 6: 8 to 100 % of the image.
RESIZED = Shape(0.08, 0.92, 3 / 4, 4 / 3)


def mix_bits(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Take one step of SplitMix64 from each state."""
    mixed = state + GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * SECOND
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def seed_of(*numbers: int) -> int:
    """Return 63 bits of these numbers, for the seed of a generator.

    Published runs rest on it: it may not change.
    """
    state = np.zeros(1, np.uint64)
    for number in numbers:
        state = mix_bits(state + np.uint64(number))
    return int(state[0]) >> 1


def draw_bits(*keys: Key) -> NDArray[np.uint64]:
    """Draw 64 random bits for each combination of the keys, which broadcast as arrays do.

    Negative keys wrap.
    """
    state = np.zeros(1, np.uint64)
    for key in keys:
        if isinstance(key, int):
            # numpy refuses a negative Python number as an unsigned one.
            key = np.asarray([key % 2**64], np.uint64)
        state = mix_bits(state ^ key.astype(np.uint64))
    return state


def to_integers(bits: NDArray[np.uint64], limit: int) -> NDArray[np.int64]:
    """Map 64 random bits to integers 0 <= i < limit, with a bias under limit / 2^32.

    `limit` is at most 2^32: the upper half of the bits is multiplied by it in 64 bits.
    """
    scaled = (bits >> np.uint64(32)) * np.uint64(limit)
    return np.asarray(scaled >> np.uint64(32), np.int64)


def to_unit_interval(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Map 64 random bits to floats 0 <= u < 1 with 53 bits each, exactly."""
    upper_bits = (bits >> np.uint64(11)).astype(np.float64)
    return np.asarray(upper_bits * 2.0**-53)


def permute(n: int, *keys: int) -> NDArray[np.int64]:
    """Permute range(n) by sorting one draw an index; equal draws keep their order."""
    bits = draw_bits(*keys, np.arange(n))
    return np.argsort(bits, kind="stable").astype(np.int64)


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
    RESIZED_AREA = auto()
    RESIZED_RATIO = auto()
    RESIZED_Y = auto()
    RESIZED_X = auto()
    OF_CLASS = auto()


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
    """The draws of one epoch of one seed; `uniform`, `integers` and `normal` as in numpy."""

    seed: int
    epoch: int

    def uniform(self, purpose: Purpose, samples: Samples, *more: int) -> NDArray[np.float64]:
        """Draw 0 <= u < 1 for each sample; `more` tells several draws for one purpose apart."""
        return to_unit_interval(draw_bits(self.seed, self.epoch, purpose, samples, *more))

    def integers(self, purpose: Purpose, samples: Samples, limit: int) -> NDArray[np.int64]:
        """Draw 0 <= i < limit for each sample."""
        return to_integers(draw_bits(self.seed, self.epoch, purpose, samples), limit)

    def normal(self, purpose: Purpose, samples: Samples, num_values: int) -> NDArray[np.float64]:
        """Draw (n, num_values) from the standard normal distribution (Box and Muller 1958)."""
        values = np.arange(num_values)
        keys = (self.seed, self.epoch, purpose, samples[:, None], values)
        first = to_unit_interval(draw_bits(*keys, 0))
        second = to_unit_interval(draw_bits(*keys, 1))
        # 1 - first, since `first` may be 0 and is never 1.
        radius = np.sqrt(-2 * np.log(1 - first))
        return np.asarray(radius * np.cos(2 * np.pi * second))

    def order(self, rows: NDArray[np.int64]) -> Samples:
        """Put the training rows in the order of this epoch."""
        return rows[permute(len(rows), self.seed, self.epoch, Purpose.ORDER)]

    def balanced_order(self, rows: NDArray[np.int64], labels: NDArray[np.int64]) -> Samples:
        """Draw an epoch of as many samples that holds each class equally often.

        Small classes come round again; an image that comes again is another sample, with other
        draws. `labels` (N,) are those of the whole set.
        """
        classes = np.unique(labels[rows])
        num_per_class = math.ceil(len(rows) / len(classes))
        parts = []
        for label in classes:
            own = rows[labels[rows] == label]
            keys = (self.seed, self.epoch, Purpose.CLASS, int(label))
            own = own[permute(len(own), *keys)]
            # The n-th time round, the image's row counts as row + n times the size of the set.
            rounds, place = np.divmod(np.arange(num_per_class), len(own))
            parts.append(own[place] + rounds * len(labels))
        return self.order(np.concatenate(parts))[: len(rows)]

    def windows(self, samples: Samples, num_places: int) -> tuple[Samples, Samples]:
        """Draw the window's place (dy, dx) for a random crop."""
        dy = self.integers(Purpose.CROP_Y, samples, num_places)
        dx = self.integers(Purpose.CROP_X, samples, num_places)
        return dy, dx

    def mirrored(self, samples: Samples) -> NDArray[np.bool_]:
        """Draw which samples are mirrored: one in two."""
        return self.integers(Purpose.MIRROR, samples, 2) > 0

    def cutout_boxes(self, samples: Samples, size: int) -> Boxes:
        """Draw squares of a quarter of the side, centred anywhere, so that some stick out.

        DeVries and Taylor 2017 took 8 of 32 px for CIFAR-100.
        """
        centre_y = self.integers(Purpose.CUTOUT_Y, samples, size)
        centre_x = self.integers(Purpose.CUTOUT_X, samples, size)
        return clip_squares(centre_y, centre_x, np.full(len(samples), size // 4), size)

    def mix_boxes(self, samples: Samples, share: NDArray[np.float64], size: int) -> Boxes:
        """Draw CutMix's boxes, whose area before clipping is 1 - `share` of the image.

        Yun et al. 2019.
        """
        side = (size * np.sqrt(1 - share)).astype(np.int64)
        centre_y = self.integers(Purpose.BOX_Y, samples, size)
        centre_x = self.integers(Purpose.BOX_X, samples, size)
        return clip_squares(centre_y, centre_x, side, size)

    def erasing_boxes(self, samples: Samples, size: int) -> Boxes:
        """Draw random erasing's boxes (Zhong et al. 2017, in torchvision's form).

        None (an empty box) for one sample in two; else, of ten tries, the first that fits.
        """
        height, width = self._draw_sides(
            samples, size - 1, ERASED, Purpose.ERASING_AREA, Purpose.ERASING_RATIO, of=size
        )
        is_erased = self.integers(Purpose.ERASING, samples, 2)
        height, width = height * is_erased, width * is_erased
        return self._lay(samples, height, width, size, Purpose.ERASING_Y, Purpose.ERASING_X)

    def resized_boxes(self, samples: Samples, size: int) -> Boxes:
        """Draw the boxes of random resized crops, of ten tries the first that fits."""
        height, width = self._draw_sides(
            samples, size, RESIZED, Purpose.RESIZED_AREA, Purpose.RESIZED_RATIO, of=size
        )
        return self._lay(samples, height, width, size, Purpose.RESIZED_Y, Purpose.RESIZED_X)

    def _lay(
        self, samples: Samples, height: Samples, width: Samples, size: int, y: Purpose, x: Purpose
    ) -> Boxes:
        """Lay boxes of these sides anywhere within the image."""
        top = (self.uniform(y, samples) * (size - height + 1)).astype(np.int64)
        left = (self.uniform(x, samples) * (size - width + 1)).astype(np.int64)
        return Boxes(top, left, top + height, left + width)

    def _draw_sides(
        self,
        samples: Samples,
        most: int,
        shape: Shape,
        area_purpose: Purpose,
        ratio_purpose: Purpose,
        *,
        of: int,
    ) -> tuple[Samples, Samples]:
        """Draw height and width (n,) of a box of `shape`, neither above `most`.

        `of` is the image's side.
        """
        height = np.zeros((len(samples), TRIES), np.int64)
        width = np.zeros((len(samples), TRIES), np.int64)
        log_least = np.log(shape.least_ratio)
        log_range = np.log(shape.most_ratio / shape.least_ratio)
        for number in range(TRIES):
            u = self.uniform(area_purpose, samples, number)
            area = of**2 * (shape.least_share + shape.share_range * u)
            u = self.uniform(ratio_purpose, samples, number)
            ratio = np.exp(log_least + log_range * u)
            height[:, number] = np.round(np.sqrt(area * ratio))
            width[:, number] = np.round(np.sqrt(area / ratio))
        fits = (height <= most) & (width <= most)
        # argmax is the first that fits, or 0 where none does: ten misfits in a row hardly happen,
        # and then the box is cut.
        chosen = np.arange(len(samples)), fits.argmax(1)
        return np.minimum(height[chosen], most), np.minimum(width[chosen], most)


def clip_squares(
    centre_y: NDArray[np.int64], centre_x: NDArray[np.int64], side: NDArray[np.int64], size: int
) -> Boxes:
    """Lay squares around their centres and clip them to the image."""
    half = side // 2
    return Boxes(
        top=np.maximum(centre_y - half, 0),
        left=np.maximum(centre_x - half, 0),
        bottom=np.minimum(centre_y + half, size),
        right=np.minimum(centre_x + half, size),
    )
