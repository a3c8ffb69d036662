"""Which way runs an exported model fastest here, and whether that is proven. numpy, scipy."""

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

from bench.results.interval import Estimate, holm
from bench.results.record import Measurement
from bench.results.verdict import rate_interval, speed_p_values, speed_ratios, verdict
from bench.results.way import WAYS, Load, Way


class Fastest(NamedTuple):
    """The way that took least, in milliseconds an image, and those that may be as fast.

    `rivals` aren't proven slower, of `num_ways` in all. `ratio` is how many times as fast it is as
    torch on as many cores; None where torch is fastest, or wasn't measured.
    """

    way: Way
    value: Estimate
    rivals: tuple[Way, ...]
    num_ways: int
    ratio: Estimate | None

    @property
    def is_proven(self) -> bool:
        """Return whether any way is proven slower than this one."""
        return len(self.rivals) < self.num_ways - 1


def find_fastest(rows: Mapping[str, Measurement], load: Load) -> Fastest | None:
    """Find a model's fastest way among its measurements by metric; None where none was timed.

    All ways were visited in the same rounds. One is proven slower where the test of its pair with
    the fastest is significant, adjusted for all pairs of ways (Holm 1979).
    """
    timed = {way: rows[way.metric(load)] for way in WAYS if way.metric(load) in rows}
    if not timed:
        return None
    best = min(timed, key=lambda way: timed[way].value)
    pairs = list(combinations(timed, 2))
    measured = [(timed[one], timed[other]) for one, other in pairs]
    adjusted = dict(zip(pairs, holm(speed_p_values(measured)), strict=True))
    others = [way for way in timed if way != best]
    ratios = dict(zip(others, speed_ratios([(timed[best], timed[w]) for w in others]), strict=True))
    rivals = []
    for way, ratio in ratios.items():
        p = adjusted[(best, way) if (best, way) in adjusted else (way, best)]
        if verdict(ratio.low, ratio.high, p) != "faster":
            rivals.append(way)
    value = Estimate(timed[best].value, *rate_interval(timed[best]))
    of_torch = ratios.get(Way("torch", best.cores))
    return Fastest(best, value, tuple(rivals), len(timed), of_torch)
