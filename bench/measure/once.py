"""What is measured once a model: each function opens what it needs for one choice of --measure.

It raises ValueError, in one line, where this machine can't measure it. What it returns is called
for one subject after the other, and returns this rank's values by metric.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from bench.distributed.runtime import Runtime
from bench.measure.subject import Subject
from bench.results.metric import ENERGY

MeasureSubject = Callable[[Subject], Mapping[str, float]]

POWERCAP = Path("/sys/class/powercap")
LEAST_SECONDS = 1.0  # RAPL counts a thousand times a second, NVML ten times


def open_energy(runtime: Runtime) -> MeasureSubject:
    """Measure the joules that training an image of the world takes."""
    meter = open_meter(runtime)
    # One rank a machine reads the processor's meter, for all; each has a GPU of its own.
    counts = runtime.device.type == "cuda" or runtime.stands_for_machine

    def measure(subject: Subject) -> Mapping[str, float]:
        images = 0
        before = meter.joules()
        start = time.perf_counter()
        while runtime.broadcast(time.perf_counter() - start) < LEAST_SECONDS:
            subject.step(subject.batch)
            runtime.synchronize()
            images += len(subject.batch.labels) * runtime.data_size
        used = meter.joules() - before
        return {"energy_joules_per_image": used / images if counts else 0.0}

    return measure


ONCE: dict[str, Callable[[Runtime], MeasureSubject]] = {ENERGY.name: open_energy}


class Meter(Protocol):
    """Joules since some moment, growing."""

    def joules(self) -> float: ...


def open_meter(runtime: Runtime) -> Meter:
    """Open this rank's meter; ValueError if there is none."""
    if runtime.device.type == "cuda":
        return Nvml(runtime.gpu_uuid())
    return Rapl()


class Rapl:
    """The processor packages of this machine. ValueError if none can be read.

    Counters start again at zero beyond their range; `joules` adds that up, if it is read more often
    than once a range.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        # intel-rapl:0 is a package; intel-rapl:0:1 is a part of it, and counted in it.
        zones = sorted(path for path in root.glob("intel-rapl:*") if path.name.count(":") == 1)
        if not zones:
            raise ValueError("this machine has no RAPL counters")
        try:
            self.folders = [zone for zone in zones if _is_package(zone)]
            self.ranges = [int((path / "max_energy_range_uj").read_text()) for path in self.folders]
            self.last = self._read()
        except OSError as error:
            raise ValueError(f"RAPL's counters can't be read ({error.strerror})") from error
        if not self.folders:
            raise ValueError("this machine's RAPL has no counter of a processor package")
        self.total = 0

    def _read(self) -> list[int]:
        return [int((path / "energy_uj").read_text()) for path in self.folders]

    def joules(self) -> float:
        now = self._read()
        for new, old, largest in zip(now, self.last, self.ranges, strict=True):
            self.total += (new - old) % (largest + 1)
        self.last = now
        return self.total / 1e6


def _is_package(zone: Path) -> bool:
    """Tell whether a zone is a package (`package-0`, or `package-0-die-1` where each die counts).

    The others of the top level are `psys`, the whole machine with all packages in it, and whatever
    a kernel adds to them: counted too, a joule would be there twice.
    """
    return (zone / "name").read_text(encoding="ascii").startswith("package-")


class Nvml:
    """One GPU. ValueError without NVML's Python library, or if the GPU doesn't count its energy."""

    def __init__(self, uuid: str) -> None:
        # Imported here: an optional package.
        try:
            import pynvml
        except ImportError as error:
            raise ValueError("reading a GPU's energy needs the package nvidia-ml-py") from error
        try:
            pynvml.nvmlInit()
            # NVML's numbers are not CUDA's: those are of the visible GPUs, in another order.
            self.handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            self.read: Callable[[object], int] = pynvml.nvmlDeviceGetTotalEnergyConsumption
            self.read(self.handle)
        except pynvml.NVMLError as error:
            raise ValueError(f"this GPU doesn't tell its energy ({error})") from error

    def joules(self) -> float:
        return self.read(self.handle) / 1e3
