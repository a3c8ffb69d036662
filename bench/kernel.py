"""What is asked of the Linux kernel: to end a process with its parent, to hand orphans over, who was killed for memory.

No torch. Elsewhere than on Linux nothing is asked, and nothing is known.
"""

import ctypes
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """Ask for a signal at the death of the thread that started this process, so that no process is left behind."""
    _prctl(PR_SET_PDEATHSIG, signum)


def adopt_orphans() -> None:
    """Become the parent of every process below whose own parent dies."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def count_oom_kills(root: Path = Path("/")) -> int | None:
    """How many processes of this control group the kernel has killed for want of memory; None where it doesn't tell.

    Version 2 of control groups counts in `memory.events`, version 1 in `memory.oom_control`; where neither can be read
    the whole machine's count must do. `root` is where /proc and /sys stand.
    """
    for path in [*_counters(root), root / "proc/vmstat"]:
        found = _number_after("oom_kill", path)
        if found is not None:
            return found
    return None


def _counters(root: Path) -> list[Path]:
    """The files in which this process's control groups count, as /proc/self/cgroup names them: ID:CONTROLLERS:PATH."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            found += _places(root / "sys/fs/cgroup/memory", path, "memory.oom_control")
        if not controllers:
            found += _places(root / "sys/fs/cgroup", path, "memory.events")
            found += _places(root / "sys/fs/cgroup/unified", path, "memory.events")
    return found


def _places(mount: Path, path: str, name: str) -> list[Path]:
    """Where a group's file may be: a container's own group is mounted at the top, and its path is that of outside."""
    return [mount / path.strip("/") / name, mount / name]


def _number_after(word: str, path: Path) -> int | None:
    try:
        rows = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
    except OSError:
        return None
    return next((int(row[1]) for row in rows if len(row) == 2 and row[0] == word), None)


def name_of(signum: int) -> str:
    """A signal's name, or its number where it has none."""
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"
