"""The embedded stand-in: 60,000 images of 100 classes in 20 superclasses, drawn by code in a few seconds.

A superclass is a shape, a class is that shape with one of five textures; place, size, colours,
background and noise are drawn for each image by counting. Integer arithmetic only, so the bytes are
the same on every machine, and their checksums stand here. Figures reached on it say nothing about
real images.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

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
DARKEST_INK, INKS, GROUNDS = (
    60,
    110,
    192,
)  # ink is drawn from DARKEST_INK + [0, INKS), backgrounds from [0, GROUNDS)
TINT = 80  # what a texture adds to the ink of its own channels: a faint hint, to get the learning under way
FAINT = 70  # opacity of the ink, of 255, in the gaps of a texture
NOISE = 85  # of 255: half the width of the noise on each value
CHECKSUM_TRAIN = "ba568f3b3c67729f3dc8c278d90ca256aa50c463203f90d648c2fd71b56af6f2"
CHECKSUM_TEST = "371959161042ce3c3a7a501a5b799b1de009af8462569a7881cc22edabccf2c6"

Grid = NDArray[np.int64]
Rule = Callable[[Grid, Grid], NDArray[np.bool_]]

# Coordinates run from -47 to 47 in steps of 2 from the middle: x to the right, y down.
SHAPES: dict[str, Rule] = {
    "disc": lambda x, y: x * x + y * y < 2100,
    "ring": lambda x, y: (x * x + y * y < 2200) & (x * x + y * y > 700),
    "square": lambda x, y: np.maximum(abs(x), abs(y)) < 40,
    "frame": lambda x, y: (np.maximum(abs(x), abs(y)) < 44) & (np.maximum(abs(x), abs(y)) > 24),
    "diamond": lambda x, y: abs(x) + abs(y) < 47,
    "hill": lambda x, y: (2 * abs(x) < y + 47) & (y < 40),
    "funnel": lambda x, y: (2 * abs(x) < 47 - y) & (y > -40),
    "plus": lambda x, y: np.minimum(abs(x), abs(y)) < 14,
    "cross": lambda x, y: abs(abs(x) - abs(y)) < 14,
    "bar": lambda x, y: abs(y) < 16,
    "pillar": lambda x, y: abs(x) < 16,
    "slash": lambda x, y: abs(x + y) < 22,
    "window": lambda x, y: (np.maximum(abs(x), abs(y)) > 32) | (np.minimum(abs(x), abs(y)) < 8),
    "corner": lambda x, y: (x < -16) | (y > 16),
    "tee": lambda x, y: (y < -16) | (abs(x) < 14),
    "arch": lambda x, y: (abs(x) > 22) | (y < -22),
    "bowl": lambda x, y: (x * x + (y + 20) * (y + 20) < 2100) & (y > -20),
    "moon": lambda x, y: (x * x + y * y < 2200) & ((x - 24) * (x - 24) + y * y > 1300),
    "hourglass": lambda x, y: abs(x) < abs(y) + 6,
    "pair": lambda x, y: (abs(x) - 24) * (abs(x) - 24) + y * y < 480,
}
TEXTURES: dict[str, Rule] = {
    "plain": lambda x, y: x == x,
    "banded": lambda x, y: y // 10 % 2 == 0,
    "striped": lambda x, y: x // 10 % 2 == 0,
    "checked": lambda x, y: (x // 14 + y // 14) % 2 == 0,
    "slanted": lambda x, y: (x + y) // 14 % 2 == 0,
}
TINTS = (
    np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1)]) * TINT
)  # by texture: red, green, blue

PLACE_Y, PLACE_X, WIDTH, INK, GROUND, GRAIN, SHIFT = range(7)  # what a draw is for


def make() -> tuple[Decoded, Decoded, Names]:
    """Draw the training set (50,000 images), the test set (10,000) and the names of classes and superclasses."""
    names = tuple(f"{texture}_{shape}" for shape in SHAPES for texture in TEXTURES)
    return (
        draw_set(0, NUM_TRAIN),
        draw_set(NUM_TRAIN * len(names), NUM_TEST),
        Names(names, tuple(SHAPES)),
    )


def draw_set(first: int, num_per_class: int) -> Decoded:
    """Draw a set of images, counted from `first`: as many of each class, class by class."""
    labels = np.repeat(np.arange(len(SHAPES) * len(TEXTURES)), num_per_class)
    samples = first + np.arange(len(labels))
    drawings, grain = (
        _drawings(),
        draw_bits(SEED, GRAIN, np.arange(2**17)).astype("<u8").view(np.uint8),
    )
    starts = range(0, len(labels), CHUNK)
    with ThreadPoolExecutor() as pool:
        chunks = pool.map(
            lambda start: _draw_images(
                drawings, grain, labels[start : start + CHUNK], samples[start : start + CHUNK]
            ),
            starts,
        )
        return Decoded(np.concatenate(list(chunks)), labels, labels // len(TEXTURES))


def _drawings() -> NDArray[np.uint8]:
    """Draw each class once.

    (100, GRID + 2, GRID + 2), the ink's opacity in 0..255 within an empty border.
    """
    line = np.arange(GRID) * 2 - GRID + 1
    x, y = line[None, :], line[:, None]
    figures = [
        np.broadcast_to(shape(x, y), (GRID, GRID)) * np.where(texture(x, y), 255, FAINT)
        for shape in SHAPES.values()
        for texture in TEXTURES.values()
    ]
    return np.pad(np.stack(figures), ((0, 0), (1, 1), (1, 1))).astype(np.uint8)


def _draw_images(
    drawings: NDArray[np.uint8],
    grain: NDArray[np.uint8],
    labels: NDArray[np.int64],
    samples: NDArray[np.int64],
) -> NDArray[np.uint8]:
    """Draw images (n, 32, 32, 3) of the given classes.

    Planes of one colour until the end, since that is faster.
    """
    ground = _ground(samples)
    ink = (
        DARKEST_INK
        + to_integers(draw_bits(SEED, INK, samples[:, None], np.arange(3)), INKS)
        + TINTS[labels % len(TEXTURES)]
    )
    opacity = (_place(drawings, labels, samples) >> 1).astype(np.int16)[:, None]
    image = ground + ((ink.astype(np.int16)[:, :, None, None] - ground) * opacity >> 7)
    image += _noise(grain, samples)
    return np.asarray(np.clip(image, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1))


def _place(
    drawings: NDArray[np.uint8], labels: NDArray[np.int64], samples: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Put each class's drawing into the image at a size and place of its own.

    Opacity (n, 32, 32).
    """
    width = SMALLEST + to_integers(draw_bits(SEED, WIDTH, samples), LARGEST - SMALLEST + 1)
    row, column = (_coordinates(samples, width, axis) for axis in (PLACE_Y, PLACE_X))
    side = GRID + 2
    return np.asarray(
        drawings.reshape(-1)[
            (labels[:, None] * side * side + row * side)[:, :, None] + column[:, None, :]
        ]
    )


def _coordinates(
    samples: NDArray[np.int64], width: NDArray[np.int64], axis: int
) -> NDArray[np.int64]:
    """Find where each pixel of an axis lies in the drawing.

    (n, 32) in 0..GRID + 1, its ends being the empty border.
    """
    free = SIZE - width + 2 * OUTSIDE + 1
    first = (draw_bits(SEED, axis, samples) >> np.uint64(32)).astype(
        np.int64
    ) * free // 2**32 - OUTSIDE
    along = (np.arange(SIZE) - first[:, None]) * GRID // width[:, None]
    return np.clip(along + 1, 0, GRID + 1)


def _ground(samples: NDArray[np.int64]) -> NDArray[np.int16]:
    """Draw backgrounds (n, 3, 32, 32): a colour that changes evenly down and across the image."""
    bits = draw_bits(SEED, GROUND, samples[:, None, None], np.arange(3)[:, None], np.arange(3))
    start, down, across = to_integers(bits, GROUNDS).astype(np.int16).transpose(1, 0, 2)
    line = np.arange(SIZE, dtype=np.int16)
    by_row = start[..., None] + ((down - start)[..., None] * line >> 6)
    return np.asarray(by_row[..., None] + ((across - start)[..., None] * line >> 6)[:, :, None, :])


def _noise(grain: NDArray[np.uint8], samples: NDArray[np.int64]) -> NDArray[np.int16]:
    """Cut noise (n, 3, 32, 32) out of one long draw, at a place of its own for each image."""
    length = 3 * SIZE * SIZE
    first = to_integers(draw_bits(SEED, SHIFT, samples), len(grain) - length)
    cut = np.lib.stride_tricks.sliding_window_view(grain, length)[first].reshape(-1, 3, SIZE, SIZE)
    return (cut.astype(np.int16) - 128) * NOISE >> 7
