"""What the machine can do at most (the roof of a roofline), and whether its GPU is slowed."""

import shutil
import subprocess
from collections.abc import Callable

import torch

from bench.distributed.runtime import Runtime
from bench.results.record import Measurement, make_measurement
from bench.train.step import time_action

NUM_RATES = 7
NUM_WARM_UPS = 2  # wake the device
SIDE = {"cpu": 2048, "cuda": 8192}  # of the matrices: large enough that their rate no longer grows
COPIED = {"cpu": 128 * 2**20, "cuda": 2**30}  # bytes: far more than any cache holds
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Of NVML's clock event reasons: power cap, slowdown, heat by software and by hardware, power brake.
SLOWED = 0x4 | 0x8 | 0x20 | 0x40 | 0x80


def measure_peaks(runtime: Runtime) -> tuple[Measurement, ...]:
    """Measure a matrix product (FLOP/s) and a copy of memory (bytes/s), at the run's precision.

    On all ranks at once: a world's peak is the sum over its ranks.
    """
    device, dtype = runtime.device, DTYPES[runtime.precision]
    side, size = SIDE[device.type], COPIED[device.type]
    left = torch.rand(side, side, device=device).to(dtype)
    right = torch.rand(side, side, device=device).to(dtype)
    product = torch.empty_like(left)
    source = torch.ones(size // 4, device=device)  # float32
    target = torch.empty_like(source)

    multiplied = _measure_rates(lambda: torch.mm(left, right, out=product), 2.0 * side**3, runtime)
    # Every byte is read and written.
    copied = _measure_rates(lambda: target.copy_(source), 2.0 * size, runtime)
    return (
        make_measurement("matmul_flops_per_second", runtime.gather(multiplied)),
        make_measurement("copy_bytes_per_second", runtime.gather(copied)),
    )


def _measure_rates(
    action: Callable[[], object], amount: float, runtime: Runtime
) -> tuple[float, ...]:
    rates = []
    for _ in range(NUM_WARM_UPS + NUM_RATES):
        runtime.gather(None)  # so that all ranks begin at once
        rates.append(amount / time_action(action, runtime))
    return tuple(rates[NUM_WARM_UPS:])


def gpu_is_slowed(uuid: str) -> bool | None:
    """Tell whether a GPU runs below its clocks for heat or power, by the driver's own tool.

    None if it doesn't say. By its UUID: the driver numbers all GPUs of the machine, CUDA those that
    CUDA_VISIBLE_DEVICES leaves, in an order of its own. Written by the tool's documents, not run.
    """
    if not shutil.which("nvidia-smi"):
        return None
    query = ["nvidia-smi", "-i", uuid, "--query-gpu=clocks_event_reasons.active"]
    query.append("--format=csv,noheader")
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    try:
        return any(int(line, 16) & SLOWED for line in done.stdout.split())
    except ValueError:
        return None
