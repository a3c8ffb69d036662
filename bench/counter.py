"""Random draws by counting: a draw is a function of its keys alone, the same on every machine, for ever. No torch.

SplitMix64 (Steele, Lea, Flood 2014) over the keys one after another. No stream is kept, so a draw needs no history:
sample 7 of epoch 3 has the same crop after a resume, on another rank, or drawn alone.
"""

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
    """63 bits of these numbers, for the seed of a generator. Published runs rest on it: it may not change."""
    state = np.zeros(1, np.uint64)
    for number in numbers:
        state = mix(state + np.uint64(number))
    return int(state[0]) >> 1


def draw(*keys: Key) -> NDArray[np.uint64]:
    """Draw 64 random bits for each combination of the keys, which broadcast as arrays do (negative ones wrap)."""
    state = np.zeros(1, np.uint64)
    for key in keys:
        counted = np.asarray(key) if isinstance(key, np.ndarray) else np.asarray([key % 2**64], np.uint64)
        state = mix(state ^ counted.astype(np.uint64))
    return state


def below(bits: NDArray[np.uint64], limit: int) -> NDArray[np.int64]:
    """Map 64 random bits to integers 0 <= i < limit (limit at most 2^32; bias under limit / 2^32)."""
    return np.asarray(((bits >> np.uint64(32)) * np.uint64(limit)) >> np.uint64(32)).astype(np.int64)


def unit(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Map 64 random bits to floats 0 <= u < 1 with 53 bits each, exactly."""
    return np.asarray((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def permutation(n: int, *keys: int) -> NDArray[np.int64]:
    """Permute range(n) by sorting one draw an index; equal draws keep their order."""
    return np.argsort(draw(*keys, np.arange(n)), kind="stable").astype(np.int64)
