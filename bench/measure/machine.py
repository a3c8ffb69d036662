"""What the device can do at most: the rate of a matrix product, and of copying memory.

The roof of a roofline.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil
import torch

from bench.distributed.runtime import Runtime
from bench.measure.visit import Subject
from bench.results.record import Measurement, make_measurement
from bench.train.step import time_action

REPEATS = 7
SIDE = {"cpu": 2048, "cuda": 8192}  # of the matrices: large enough that their rate no longer grows
COPIED = {"cpu": 128 * 2**20, "cuda": 2**30}  # bytes: far more than any cache holds
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def machine_peaks(runtime: Runtime) -> tuple[Measurement, ...]:
    """Measure both on all ranks at once, at the precision of the run.

    A world's peak is the sum over its ranks.
    """
    kind = runtime.device.type
    side, size = SIDE[kind], COPIED[kind]
    left, right = (
        torch.rand(side, side, device=runtime.device).to(DTYPES[runtime.precision])
        for _ in range(2)
    )
    product = torch.empty_like(left)
    source = torch.ones(size // 4, device=runtime.device)
    target = torch.empty_like(source)
    work = {
        "matmul_flops_per_second": _rates(
            lambda: torch.mm(left, right, out=product), 2.0 * side**3, runtime
        ),
        "copy_bytes_per_second": _rates(
            lambda: target.copy_(source), 2.0 * size, runtime
        ),  # read and written
    }
    return tuple(make_measurement(metric, runtime.gather(rates)) for metric, rates in work.items())


def _rates(action: Callable[[], object], amount: float, runtime: Runtime) -> tuple[float, ...]:
    rates = []
    for _ in range(REPEATS + 2):  # the first two wake the device
        runtime.gather(None)
        rates.append(amount / time_action(action, runtime))
    return tuple(rates[2:])


POWERCAP = Path("/sys/class/powercap")
LEAST_SECONDS = 1.0  # RAPL counts a thousand times a second, NVML ten times


class Meter(Protocol):
    """Joules since some moment, growing."""

    def joules(self) -> float: ...


class Rapl:
    """The processor packages of this machine. ValueError if none can be read.

    Counters start again at zero beyond their range; `joules` adds that up, if it is read more often
    than once a range.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self.folders = [
            path for path in sorted(root.glob("intel-rapl:*")) if path.name.count(":") == 1
        ]
        if not self.folders:
            raise ValueError("this machine has no RAPL counters")
        try:
            self.range = [int((path / "max_energy_range_uj").read_text()) for path in self.folders]
            self.last = self._read()
        except OSError as error:
            raise ValueError(f"RAPL's counters can't be read ({error.strerror})") from error
        self.total = 0

    def _read(self) -> list[int]:
        return [int((path / "energy_uj").read_text()) for path in self.folders]

    def joules(self) -> float:
        now = self._read()
        self.total += sum(
            (new - old) % (most + 1)
            for new, old, most in zip(now, self.last, self.range, strict=True)
        )
        self.last = now
        return self.total / 1e6


class Nvml:
    """One GPU. ValueError if NVML's Python library is not installed or the GPU doesn't count its energy."""

    def __init__(self, index: int) -> None:
        try:
            import pynvml
        except ImportError as error:
            raise ValueError("reading a GPU's energy needs the package nvidia-ml-py") from error
        try:
            pynvml.nvmlInit()
            self.handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            self.read: Callable[[object], int] = pynvml.nvmlDeviceGetTotalEnergyConsumption
            self.read(self.handle)
        except pynvml.NVMLError as error:
            raise ValueError(f"this GPU doesn't tell its energy ({error})") from error

    def joules(self) -> float:
        return self.read(self.handle) / 1e3


def open_meter(runtime: Runtime) -> Meter | str:
    """This rank's meter, or in one line why there is none.

    One rank a machine reads the processor's, for all.
    """
    try:
        return Nvml(runtime.device.index or 0) if runtime.device.type == "cuda" else Rapl()
    except ValueError as error:
        return str(error)


def joules_per_image(subject: Subject, meter: Meter, runtime: Runtime) -> tuple[float, ...]:
    """Train for at least a second.

    Joules of each rank's meter for an image of the world, 0 where another reads it.
    """
    images, start, before = 0, time.perf_counter(), meter.joules()
    while runtime.broadcast(time.perf_counter() - start) < LEAST_SECONDS:
        subject.step(subject.batch)
        runtime.synchronize()
        images += len(subject.batch.labels) * runtime.data_size
    used = meter.joules() - before
    counts = runtime.device.type == "cuda" or runtime.stands_for_machine
    return tuple(runtime.gather(used / images if counts else 0.0))


CGROUP = Path("/sys/fs/cgroup/cpu.stat")
CORES = Path("/sys/devices/system/cpu")
SLOWED = (
    0x4 | 0x8 | 0x20 | 0x40 | 0x80
)  # of NVML's clock event reasons: power cap, slowdown, heat, power brake


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
    own = os.times()
    return Counters(
        at=time.monotonic(),
        busy=busy,
        own=own.user + own.system + own.children_user + own.children_system,
        stolen=sum(core.steal for core in times),
        stopped=_seconds_stopped(CGROUP),
        heat=_heat_events(CORES),
    )


def conditions(before: Counters, after: Counters, own: Sequence[float]) -> dict[str, float]:
    """What a stretch of time was like; `own` are the seconds of processor time that each process of the run took.

    `seconds`, `load` (processes that wanted a core in the last minute), `other_cores` (taken by
    others, on average), `stolen_cores` (taken by the host of a virtual machine), `stopped_seconds`
    (for the container's quota) and `heat_events` (a core was slowed because it was hot); the last
    two only where they can be known.
    """
    seconds = max(after.at - before.at, 1e-9)
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


def gpu_is_slowed() -> bool | None:
    """Whether a GPU runs below its clocks for heat or power, as the driver's own tool tells it.

    None if it doesn't.
    """
    if not shutil.which("nvidia-smi"):
        return None
    query = ["nvidia-smi", "--query-gpu=clocks_event_reasons.active", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    try:
        return any(int(line, 16) & SLOWED for line in done.stdout.split())
    except ValueError:
        return None


def _seconds_stopped(path: Path) -> float | None:
    try:
        lines = dict(line.split() for line in path.read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):
        return None
    return int(lines["throttled_usec"]) / 1e6 if "throttled_usec" in lines else None


def _heat_events(cores: Path) -> int | None:
    counts = []
    for path in cores.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"):
        try:
            counts.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return sum(counts) if counts else None
