"""Warnings about the machine: what else it did while a pass was measured, beside the numbers of that pass."""

from collections.abc import Iterator, Mapping

from bench.results.record import Comparison

COLUMNS_OF = {
    "train": ("train_images_per_second", "train_step_images_per_second"),
    "infer": ("infer_images_per_second",),
    "latency": ("latency_ms_p50",),
    "sweep": ("infer_best_images_per_second",),
}
OTHER_CORES = 0.25
STOLEN_CORES = 0.02
STOPPED = 0.01  # of the time


def condition_warnings(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """Every warning with the column that it touches."""
    for part, found in comparison.conditions.items():
        for text in _faults(found):
            yield from ((text, column) for column in COLUMNS_OF.get(part, ()))


def _faults(found: Mapping[str, float]) -> Iterator[str]:
    if found.get("other_cores", 0) > OTHER_CORES:
        yield f"Other processes took {found['other_cores']:.1f} cores meanwhile."
    if found.get("stolen_cores", 0) > STOLEN_CORES:
        yield f"The host of this virtual machine took {found['stolen_cores']:.2f} cores away meanwhile."
    if found.get("stopped_seconds", 0) > STOPPED * found.get("seconds", 0):
        yield f"The run was stopped for {found['stopped_seconds']:.1f} s meanwhile, for its container's quota."
    if found.get("heat_events", 0) > 0:
        yield f"The processor was slowed {found['heat_events']:.0f} times meanwhile because it was hot."
    if found.get("gpu_slowed", 0) > 0:
        yield "The GPU ran below its clocks, for heat or power."
