"""What else this machine does while a run works: read from the counters of its cores and processes.

The kernel counts in ticks of 10 ms, so that a stretch of time says more the longer it is.
"""

import contextlib
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from bench.distributed.hardware import num_cores

if TYPE_CHECKING:
    from bench.distributed.runtime import Runtime

CGROUP = Path("/sys/fs/cgroup/cpu.stat")
CORES = Path("/sys/devices/system/cpu")
DOUBT_SECONDS = 0.03  # by which the counters' ticks may err, over cores and kinds of time


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


@dataclass
class Watch:
    """Tells what a stretch of time was like, from the last reading on (`Runtime.watch`)."""

    runtime: "Runtime"
    before: Counters = field(default_factory=read_counters)

    def restart(self) -> None:
        """Forget what has been since the last reading."""
        self.before = read_counters()

    def read(self) -> dict[str, float]:
        """Return what it was like since the last reading (`conditions_between`). Collective."""
        before, after = self.before, read_counters()
        own = describe_share(after.own - before.own)
        # Its own share in front says which machine is meant, and stands in the list once more.
        same = sum_of_same_cores([own, *self.runtime.gather(own)])[1:]
        self.before = after
        return conditions_between(before, after, same)

    def read_taken(self) -> float:
        """Return how many cores that this run could use others took since the last reading.

        Less what the counters can't tell; of several machines the most. A collective call.
        """
        found = self.read()
        spare = len(os.sched_getaffinity(0)) - self._num_wanted()
        taken = found["other_cores"] - spare - DOUBT_SECONDS / found["seconds"]
        return max(0.0, *self.runtime.gather(taken))

    def _num_wanted(self) -> int:
        """Count the cores that the ranks of this machine can keep busy: on a GPU one each."""
        a_rank = self.runtime.num_threads if self.runtime.device.type == "cpu" else 1
        return min(num_cores(), a_rank * self.runtime.world.local_size)
