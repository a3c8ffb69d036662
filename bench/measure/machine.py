"""What the device can do at most: the rate of a matrix product, and of copying memory. The roof of a roofline."""

import time
from collections.abc import Callable

import torch

from bench.distributed.runtime import Runtime
from bench.results.metric import METRICS
from bench.results.record import Measurement

REPEATS = 7
SIDE = {"cpu": 2048, "cuda": 8192}  # of the matrices: large enough that their rate no longer grows
COPIED = {"cpu": 128 * 2**20, "cuda": 2**30}  # bytes: far more than any cache holds
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def machine_peaks(runtime: Runtime) -> tuple[Measurement, ...]:
    """Measure both on all ranks at once, at the precision of the run; a world's peak is the sum over its ranks."""
    kind = runtime.device.type
    side, size = SIDE[kind], COPIED[kind]
    left, right = (torch.rand(side, side, device=runtime.device).to(DTYPES[runtime.precision]) for _ in range(2))
    product = torch.empty_like(left)
    source = torch.ones(size // 4, device=runtime.device)
    target = torch.empty_like(source)
    work = {
        "matmul_flops_per_second": _rates(lambda: torch.mm(left, right, out=product), 2.0 * side**3, runtime),
        "copy_bytes_per_second": _rates(lambda: target.copy_(source), 2.0 * size, runtime),  # read and written
    }
    return tuple(_measurement(metric, rates, runtime) for metric, rates in work.items())


def _rates(action: Callable[[], object], amount: float, runtime: Runtime) -> tuple[float, ...]:
    rates = []
    for _ in range(REPEATS + 2):  # the first two wake the device
        runtime.gather(None)
        runtime.synchronize()
        start = time.perf_counter()
        action()
        runtime.synchronize()
        rates.append(amount / (time.perf_counter() - start))
    return tuple(rates[2:])


def _measurement(metric: str, rates: tuple[float, ...], runtime: Runtime) -> Measurement:
    kind = METRICS[metric]
    return Measurement(
        metric=metric, unit=kind.unit, better=kind.better, merge=kind.merge, values=tuple(runtime.gather(rates))
    )
