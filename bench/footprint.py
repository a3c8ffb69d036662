"""The memory of a run's models, each measured in a fresh process (memory.py) for every rank."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from bench.measure.memory import memory_by_kind
from bench.results.metric import MEMORY, METRICS
from bench.results.record import Measurement
from bench.train.build import RunContext, memory_request
from zoo.spec import ModelSpec


def measure_memory(
    models: Sequence[tuple[ModelSpec, RunContext]], missing: dict[str, str]
) -> dict[str, tuple[Measurement, ...]]:
    """Bytes by kind of every model; what can't be had is named in `missing`, with its cause."""
    if not models:
        return {}
    runtime = models[0][1].runtime
    runtime.check_signal()
    # Two at once where there is one rank: what one is given doesn't change the other's peak, and most of it is imports.
    with ThreadPoolExecutor(2 if runtime.world_size == 1 else 1) as pool:
        requests = [(memory_request(spec, context), runtime.meeting_port()) for spec, context in models]
        own = list(pool.map(lambda asked: memory_by_kind(asked[0], port=asked[1]), requests))
    found = {}
    for (spec, _), outcomes in zip(models, zip(*runtime.gather(own), strict=True), strict=True):
        causes = [outcome for outcome in outcomes if isinstance(outcome, str)]
        if causes:
            missing[f"{spec.name} memory"] = causes[0]
            continue
        found[spec.name] = _measurements([outcome for outcome in outcomes if isinstance(outcome, dict)])
    if runtime.device.type != "cuda" and found:
        missing["device memory"] = "the models ran on a CPU"
    return found


def _measurements(ranks: Sequence[dict[str, int]]) -> tuple[Measurement, ...]:
    return tuple(
        Measurement(
            metric=metric, unit=METRICS[metric].unit, better=METRICS[metric].better, merge=METRICS[metric].merge,
            values=tuple((float(rank[metric]),) for rank in ranks),
        )
        for metric in MEMORY
        if all(metric in rank for rank in ranks)
    )  # fmt: skip
