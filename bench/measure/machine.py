"""What the machine can do at most (the roof of a roofline), and what else it did meanwhile."""

import contextlib
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from bench.distributed.runtime import Runtime
from bench.results.record import Measurement, make_measurement
from bench.train.step import time_action

NUM_RATES = 7
NUM_WARM_UPS = 2  # wake the device
SIDE = {"cpu": 2048, "cuda": 8192}  # of the matrices: large enough that their rate no longer grows
COPIED = {"cpu": 128 * 2**20, "cuda": 2**30}  # bytes: far more than any cache holds
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

CGROUP = Path("/sys/fs/cgroup/cpu.stat")
CORES = Path("/sys/devices/system/cpu")
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


@dataclass(frozen=True, kw_only=True)
class Counters:
    """Seconds, and how often, since the machine started; None for what it doesn't tell."""

    at: float
    busy: float
    own: float
    stolen: float
    stopped: float | None
    heat: int | None


def read_counters() -> Counters:
    """Read the counters of the cores that this process may use, and of this process."""
    allowed = os.sched_getaffinity(0)
    times = [core for number, core in enumerate(psutil.cpu_times(percpu=True)) if number in allowed]
    busy = sum(core.user + core.nice + core.system + core.irq + core.softirq for core in times)
    return Counters(
        at=time.monotonic(),
        busy=busy,
        own=_seconds_of_own(),
        stolen=sum(core.steal for core in times),
        stopped=_seconds_stopped(CGROUP),
        heat=_count_heat_events(CORES),
    )


def _seconds_of_own() -> float:
    """Return the processor time of this process and of all below it, those that live and ended."""
    # The living first: one that ends in between is counted once, by its parent, or not at all.
    living = 0.0
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            living += sum(child.cpu_times()[:4])
    # Of its children a process is told only once it has waited for their end.
    return living + sum(os.times()[:4])


def sum_of_same_cores(taken: Sequence[tuple[str, frozenset[int], float]]) -> list[float]:
    """Return the seconds of the ranks that share the first one's machine and cores.

    `taken` is by rank: the machine, the cores that the rank may use, and its seconds. Another
    machine's ranks are not in this one's counters, nor are those of cores that weren't read.
    """
    machine, cores, _ = taken[0]
    return [seconds for where, allowed, seconds in taken if (where, allowed) == (machine, cores)]


def conditions_between(before: Counters, after: Counters, own: Sequence[float]) -> dict[str, float]:
    """Return what a stretch of time was like.

    `own` are the seconds of processor time that each process of the run took. Returns `seconds`,
    `load` (processes that wanted a core in the last minute), `other_cores` (taken by others, on
    average), `stolen_cores` (taken by the host of a virtual machine), `stopped_seconds` (for the
    container's quota) and `heat_events` (a core was slowed because it was hot); the last two only
    where they can be known.
    """
    seconds = max(after.at - before.at, 1e-9)
    # The counters have ticks of 10 ms: a difference may fall below what it is made of.
    found = {
        "seconds": seconds,
        "load": os.getloadavg()[0],
        "other_cores": max(0.0, (after.busy - before.busy - sum(own)) / seconds),
        "stolen_cores": max(0.0, (after.stolen - before.stolen) / seconds),
    }
    if before.stopped is not None and after.stopped is not None:
        found["stopped_seconds"] = after.stopped - before.stopped
    if before.heat is not None and after.heat is not None:
        found["heat_events"] = float(after.heat - before.heat)
    return found


def describe_share(seconds: float) -> tuple[str, frozenset[int], float]:
    """Return this rank's entry for `sum_of_same_cores`."""
    return platform.node(), frozenset(os.sched_getaffinity(0)), seconds


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


def _seconds_stopped(path: Path) -> float | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        counts = dict(line.split() for line in lines)
    except (OSError, ValueError):
        return None
    return int(counts["throttled_usec"]) / 1e6 if "throttled_usec" in counts else None


def _count_heat_events(cores: Path) -> int | None:
    counts = []
    for path in cores.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"):
        try:
            counts.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return sum(counts) if counts else None
