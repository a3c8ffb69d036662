"""The embedded stand-in: 100 classes in 20 superclasses, drawn by code. Integer arithmetic only, so the same bytes
on every machine.
"""

import numpy as np

from bench.counter import below, draw
from bench.decode import Decoded, Names

SEED = 1
CHECKSUM_TRAIN = "57673a18373fb2ad222b320762db0779cc3ceed19469a88335b7c0d47806affa"
CHECKSUM_TEST = "5fe1e2db510f13e5d4ba9a6986c203c15ddcd5c3d84b00656eaec9938ae6a9f7"


def make() -> tuple[Decoded, Decoded, Names]:
    """Draw the training set (50,000), the test set (10,000) and the names."""
    return _draw(0, 500), _draw(1, 100), Names(tuple(f"{i}" for i in range(100)), tuple(f"s{i}" for i in range(20)))


def _draw(part: int, per_class: int) -> Decoded:
    labels = np.repeat(np.arange(100), per_class)
    n = len(labels)
    pixels = below(draw(SEED, part, np.arange(n * 48)), 256).astype(np.uint8).reshape(n, 4, 4, 3)
    return Decoded(pixels.repeat(8, 1).repeat(8, 2), labels, labels // 5)
