"""The embedded stand-in: 60,000 images of 100 classes in 20 superclasses, drawn by code in seconds.

A superclass is a shape, a class is that shape with one of five textures; place, size, colours,
background and noise are drawn for each image by counting. Integer arithmetic only, so the bytes are
the same on every machine, and their checksums stand here. Figures reached on it say nothing about
real images.
"""

from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from bench.data.cache import Decoded, Names
from bench.data.sampling import draw_bits, to_integers

SEED = 1998
SIZE = 32
GRID = 48  # px a side of the drawings that the images sample
NUM_TRAIN, NUM_TEST = 500, 100  # images a class
CHUNK = 500  # images drawn at a time, so that the work stays in the processor's cache
SMALLEST, LARGEST = 12, 26  # px a side of the shape in the image
OUTSIDE = 3  # px of the shape that may lie outside of the image
DARKEST_INK, INKS = 60, 110  # ink is drawn from DARKEST_INK + [0, INKS)
GROUNDS = 192  # backgrounds are drawn from [0, GROUNDS)
TINT = 80  # added to the ink in a texture's own channels: a hint, to get the learning under way
FAINT = 70  # opacity of the ink, of 255, in the gaps of a texture
NOISE = 85  # of 255: half the width of the noise on each value
NUM_GRAINS = 2**20  # bytes of noise, of which each image takes a part
CHECKSUM_TRAIN = "ba568f3b3c67729f3dc8c278d90ca256aa50c463203f90d648c2fd71b56af6f2"
CHECKSUM_TEST = "371959161042ce3c3a7a501a5b799b1de009af8462569a7881cc22edabccf2c6"

Mask = NDArray[np.bool_]

# Where the pixels of a drawing are, from -47 to 47 in steps of 2 from the middle: x to the right,
# y down. Tables below broadcast (1, GRID) with (GRID, 1).
LINE = np.arange(GRID) * 2 - GRID + 1
X, Y = LINE[None, :], LINE[:, None]
WIDE, HIGH = abs(X), abs(Y)  # distance from the middle line, to either side
NEAR = np.minimum(WIDE, HIGH)
FAR = np.maximum(WIDE, HIGH)
ROUND = X * X + Y * Y  # squared distance from the middle

SHAPES: dict[str, Mask] = {
    "disc": ROUND < 2100,
    "ring": (ROUND > 700) & (ROUND < 2200),
    "square": FAR < 40,
    "frame": (FAR > 24) & (FAR < 44),
    "diamond": WIDE + HIGH < 47,
    "hill": (2 * WIDE < 47 + Y) & (Y < 40),
    "funnel": (2 * WIDE < 47 - Y) & (Y > -40),
    "plus": NEAR < 14,
    "cross": FAR - NEAR < 14,
    "bar": HIGH < 16,
    "pillar": WIDE < 16,
    "slash": abs(X + Y) < 22,
    "window": (FAR > 32) | (NEAR < 8),
    "corner": (X < -16) | (Y > 16),
    "tee": (Y < -16) | (WIDE < 14),
    "arch": (Y < -22) | (WIDE > 22),
    "bowl": (X**2 + (Y + 20) ** 2 < 2100) & (Y > -20),
    "moon": (ROUND < 2200) & ((X - 24) ** 2 + Y**2 > 1300),
    "hourglass": WIDE < HIGH + 6,
    "pair": (WIDE - 24) ** 2 + Y**2 < 480,
}
# Where a texture's ink is whole; in the gaps it is FAINT.
TEXTURES: dict[str, Mask] = {
    "plain": X == X,
    "banded": Y // 10 % 2 == 0,
    "striped": X // 10 % 2 == 0,
    "checked": (X // 14 + Y // 14) % 2 == 0,
    "slanted": (X + Y) // 14 % 2 == 0,
}
# The channels (red, green, blue) that a texture tints.
TINTED = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1)])


class Purpose(IntEnum):
    """What a draw is for. The checksums rest on these numbers."""

    PLACE_Y = 0
    PLACE_X = 1
    WIDTH = 2
    INK = 3
    GROUND = 4
    GRAIN = 5
    SHIFT = 6


def draw_stand_in() -> tuple[Decoded, Decoded, Names]:
    """Draw the training set (50,000 images) and the test set (10,000), and name the classes."""
    names = tuple(f"{texture}_{shape}" for shape in SHAPES for texture in TEXTURES)
    train = draw_set(0, NUM_TRAIN)
    test = draw_set(NUM_TRAIN * len(names), NUM_TEST)
    return train, test, Names(names, tuple(SHAPES))


def draw_set(first: int, num_per_class: int) -> Decoded:
    """Draw a set of images, counted from `first`: as many of each class, class by class."""
    num_classes = len(SHAPES) * len(TEXTURES)
    labels = np.repeat(np.arange(num_classes), num_per_class)
    samples = first + np.arange(len(labels))
    drawings = _draw_classes()
    # Eight grains a draw; in little-endian order, so that every machine has the same.
    grain_bits = draw_bits(SEED, Purpose.GRAIN, np.arange(NUM_GRAINS // 8))
    grain = grain_bits.astype("<u8").view(np.uint8)

    def draw_chunk(start: int) -> NDArray[np.uint8]:
        chunk = slice(start, start + CHUNK)
        return _draw_images(drawings, grain, labels[chunk], samples[chunk])

    with ThreadPoolExecutor() as pool:
        chunks = list(pool.map(draw_chunk, range(0, len(labels), CHUNK)))
    return Decoded(np.concatenate(chunks), labels, labels // len(TEXTURES))


def _draw_classes() -> NDArray[np.uint8]:
    """Draw each class once.

    (100, GRID + 2, GRID + 2), the ink's opacity in 0..255 within an empty border.
    """
    drawings = []
    for shape in SHAPES.values():
        for texture in TEXTURES.values():
            opacity = shape * np.where(texture, 255, FAINT)
            drawings.append(np.broadcast_to(opacity, (GRID, GRID)))
    border = ((0, 0), (1, 1), (1, 1))
    return np.pad(np.stack(drawings), border).astype(np.uint8)


def _draw_images(
    drawings: NDArray[np.uint8],
    grain: NDArray[np.uint8],
    labels: NDArray[np.int64],
    samples: NDArray[np.int64],
) -> NDArray[np.uint8]:
    """Draw images (n, 32, 32, 3) of the given classes.

    Planes of one colour until the end, since that is faster, and sums in int16, which holds them.
    """
    ground = _draw_grounds(samples)
    ink = _draw_inks(labels, samples)[:, :, None, None]
    # 7 bits of opacity: times 255 they stay within 16 bits.
    opacity = _place_drawings(drawings, labels, samples) >> 1
    shade = (ink - ground) * opacity.astype(np.int16)[:, None]
    image = ground + (shade >> 7)
    image += _cut_noise(grain, samples)
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    return np.asarray(pixels.transpose(0, 2, 3, 1))


def _draw_inks(labels: NDArray[np.int64], samples: NDArray[np.int64]) -> NDArray[np.int16]:
    """Draw the colours (n, 3) of the ink, with the tint of each class's texture."""
    bits = draw_bits(SEED, Purpose.INK, samples[:, None], np.arange(3))
    tint = TINT * TINTED[labels % len(TEXTURES)]
    return np.asarray(DARKEST_INK + to_integers(bits, INKS) + tint, np.int16)


def _place_drawings(
    drawings: NDArray[np.uint8], labels: NDArray[np.int64], samples: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Put each class's drawing into the image at a size and place of its own.

    Opacity (n, 32, 32).
    """
    bits = draw_bits(SEED, Purpose.WIDTH, samples)
    width = SMALLEST + to_integers(bits, LARGEST - SMALLEST + 1)
    row = _find_in_drawing(samples, width, Purpose.PLACE_Y)
    column = _find_in_drawing(samples, width, Purpose.PLACE_X)
    drawing = labels[:, None, None]
    return np.asarray(drawings[drawing, row[:, :, None], column[:, None, :]])


def _find_in_drawing(
    samples: NDArray[np.int64], width: NDArray[np.int64], axis: Purpose
) -> NDArray[np.int64]:
    """Find where each pixel of an axis lies in the drawing.

    (n, 32) in 0..GRID + 1, its ends being the empty border.
    """
    num_places = SIZE - width + 2 * OUTSIDE + 1
    # As `to_integers`, but with a limit for each sample.
    bits = draw_bits(SEED, axis, samples) >> np.uint64(32)
    first = bits.astype(np.int64) * num_places // 2**32 - OUTSIDE
    distance = np.arange(SIZE) - first[:, None]
    along = distance * GRID // width[:, None]
    return np.clip(along + 1, 0, GRID + 1)


def _draw_grounds(samples: NDArray[np.int64]) -> NDArray[np.int16]:
    """Draw backgrounds (n, 3, 32, 32): a colour that changes evenly down and across the image."""
    channel = np.arange(3)
    corner = channel[:, None]
    bits = draw_bits(SEED, Purpose.GROUND, samples[:, None, None], corner, channel)
    colours = to_integers(bits, GROUNDS).astype(np.int16)
    # Of three corners: upper left, lower left, upper right. Each (n, 3).
    start, down, across = colours.transpose(1, 0, 2)
    line = np.arange(SIZE, dtype=np.int16)
    # 31 / 64 at the far end: about half the way to the other corner's colour.
    by_row = (down - start)[..., None] * line >> 6
    by_column = (across - start)[..., None] * line >> 6
    left_edge = start[..., None] + by_row
    return np.asarray(left_edge[..., None] + by_column[:, :, None, :])


def _cut_noise(grain: NDArray[np.uint8], samples: NDArray[np.int64]) -> NDArray[np.int16]:
    """Cut noise (n, 3, 32, 32) out of one long draw, at a place of its own for each image."""
    length = 3 * SIZE * SIZE
    bits = draw_bits(SEED, Purpose.SHIFT, samples)
    first = to_integers(bits, len(grain) - length)
    cut = np.lib.stride_tricks.sliding_window_view(grain, length)[first]
    # Even from -NOISE to NOISE, since a byte less 128 is even from -128 to 127.
    planes = cut.reshape(-1, 3, SIZE, SIZE).astype(np.int16)
    return (planes - 128) * NOISE >> 7
