"""What else happened to the machine while it was measured: other work, stolen time, quotas, heat. Linux; no torch.

`Counters` only ever grow; `conditions` is what they say of the time between two readings.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup/cpu.stat")
CORES = Path("/sys/devices/system/cpu")
SLOWED = 0x4 | 0x8 | 0x20 | 0x40 | 0x80  # of NVML's clock event reasons: power cap, slowdown, heat, power brake


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
        at=time.monotonic(), busy=busy, own=own.user + own.system + own.children_user + own.children_system,
        stolen=sum(core.steal for core in times), stopped=_seconds_stopped(CGROUP), heat=_heat_events(CORES),
    )  # fmt: skip


def conditions(before: Counters, after: Counters, own: Sequence[float]) -> dict[str, float]:
    """What a stretch of time was like; `own` are the seconds of processor time that each process of the run took.

    `seconds`, `load` (processes that wanted a core in the last minute), `other_cores` (taken by others, on average),
    `stolen_cores` (taken by the host of a virtual machine), `stopped_seconds` (for the container's quota) and
    `heat_events` (a core was slowed because it was hot); the last two only where they can be known.
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
    """Whether a GPU runs below its clocks for heat or power, as the driver's own tool tells it; None if it doesn't."""
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
