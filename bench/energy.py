"""The energy of training, where a meter can be read: RAPL's counters of the processor, NVML's of a GPU."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from bench.distributed.runtime import Runtime
from bench.measure.visit import Subject

POWERCAP = Path("/sys/class/powercap")
LEAST_SECONDS = 1.0  # RAPL counts a thousand times a second, NVML ten times


class Meter(Protocol):
    """Joules since some moment, growing."""

    def joules(self) -> float: ...


class Rapl:
    """The processor packages of this machine. ValueError if none can be read.

    Counters start again at zero beyond their range; `joules` adds that up, if it is read more often than once a range.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self.folders = [path for path in sorted(root.glob("intel-rapl:*")) if path.name.count(":") == 1]
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
        self.total += sum((new - old) % (most + 1) for new, old, most in zip(now, self.last, self.range, strict=True))
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
    """This rank's meter, or in one line why there is none. One rank a machine reads the processor's, for all."""
    try:
        return Nvml(runtime.device.index or 0) if runtime.device.type == "cuda" else Rapl()
    except ValueError as error:
        return str(error)


def joules_per_image(subject: Subject, meter: Meter, runtime: Runtime) -> tuple[float, ...]:
    """Train for at least a second; joules of each rank's meter for an image of the world, 0 where another reads it."""
    images, start, before = 0, time.perf_counter(), meter.joules()
    while runtime.broadcast(time.perf_counter() - start) < LEAST_SECONDS:
        subject.step(subject.batch)
        runtime.synchronize()
        images += len(subject.batch.labels) * runtime.data_size
    used = meter.joules() - before
    counts = runtime.device.type == "cuda" or runtime.stands_for_machine
    return tuple(runtime.gather(used / images if counts else 0.0))
