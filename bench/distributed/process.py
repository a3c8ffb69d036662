"""The processes of a run as the environment tells them, before torch is imported.

Who was asked for, who is there, and how a process ends.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import NoReturn

import psutil

from zoo.terminal import visible

# Names the file where launch.sh wants the exit code, which accelerate turns into 1.
EXIT_FILE = "ZOOMETRY_EXIT_FILE"
# Names the file where launch.sh wants to read how the workers failed (start_accelerate.py).
FAILURES_FILE = "ZOOMETRY_FAILURES_FILE"
# The process that launch.sh became.
LAUNCHER = "ZOOMETRY_LAUNCHER"
# Cells that brought down a world of this launch: their records stay as they are.
GIVEN_UP = "ZOOMETRY_GIVEN_UP"
# Left in the exit file by a world that broke, with the cause: a new world can go on. The number is
# BSD's EX_TEMPFAIL.
BROKEN = 75
# Torch reads it once: large tensors on large pages train 2 to 15 % faster on a CPU.
LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"
# Says that this start only measures: cells are kept as they are.
RELAUNCH = "ZOOMETRY_RELAUNCH"
# A process's place among others.
PLACE = frozenset(
    {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
)
# What a fresh process must not inherit: with it, it would join this one's world.
LAUNCHED = PLACE | {EXIT_FILE, "TORCHELASTIC_USE_AGENT_STORE"}

# Of <linux/prctl.h>.
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

SERVER = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class World:
    """This process among the processes of a run, as torchrun and accelerate tell it."""

    rank: int
    size: int
    local_rank: int
    local_size: int

    @property
    def speaks(self) -> bool:
        """Return whether this process is the one that tells the user of an error."""
        return self.rank == 0


def read_world(environment: Mapping[str, str] = os.environ) -> World:
    """Read the world from the environment; one process where nothing is said."""
    return World(
        rank=int(environment.get("RANK", 0)),
        size=int(environment.get("WORLD_SIZE", 1)),
        local_rank=int(environment.get("LOCAL_RANK", 0)),
        local_size=int(environment.get("LOCAL_WORLD_SIZE", 1)),
    )


def check_world(
    asked: int | None, world: World, environment: Mapping[str, str] = os.environ
) -> None:
    """Refuse a world other than the one that was asked for, with the command that works.

    accelerate starts a single process, without a word, where it was asked for several on a machine
    without GPUs; and a rendezvous address without a world size is a launch that lost its way.
    """
    if asked is None:
        asked = _asked_of_launcher()
    if asked is None and "MASTER_ADDR" in environment and "WORLD_SIZE" not in environment:
        raise ValueError(f"MASTER_ADDR is set but WORLD_SIZE is not: {_command('N')}")
    if asked is not None and asked != world.size:
        raise ValueError(
            f"{asked} processes were asked for and {world.size} started: {_command(asked)}"
        )


def _command(num_processes: int | str) -> str:
    return (
        f"on this machine use `NPROC={num_processes} ./launch.sh …`, or "
        "`ACCELERATE_USE_CPU=true accelerate launch --multi_gpu "
        f"--num_processes {num_processes} --num_machines 1 --main_process_port 0 bench/run.py …`"
    )


def _asked_of_launcher() -> int | None:
    """Return how many processes the launcher above was told to start; None if it wasn't told."""
    words = _launcher_above()
    for i, word in enumerate(words):
        name, _, value = word.partition("=")
        if name in ("--num_processes", "--num-processes"):
            if not value and i + 1 < len(words):
                value = words[i + 1]
            return int(value) if value.isdigit() else None
    return None


def _launcher_above() -> list[str]:
    """Return the command line of accelerate or torchrun above this process.

    Empty if its parent is something else.
    """
    parent = psutil.Process().parent()
    try:
        words = parent.cmdline() if parent else []
    except psutil.Error:
        return []
    return words if any("accelerate" in word or "torchrun" in word for word in words) else []


def follow_launcher() -> None:
    """Ask for SIGTERM at the launcher's death, at which a worker keeps what it has and leaves.

    accelerate, started by hand, dies of a SIGTERM at once and says nothing to its child.
    """
    if EXIT_FILE in os.environ or _launcher_above():
        die_with_parent(signal.SIGTERM)
    launcher = os.environ.get(LAUNCHER)
    # It may have died before the request above was made.
    if launcher and not psutil.pid_exists(int(launcher)):
        sys.exit(128 + signal.SIGTERM)


def is_orphan(parent: int) -> bool:
    """Return whether launch.sh, which started this run, is gone, killed outright.

    `parent` is who started this process.
    """
    launcher = os.environ.get(LAUNCHER)
    return launcher is not None and os.getppid() not in (parent, int(launcher))


def cells_given_up() -> frozenset[str]:
    """Return the names of the cells that this launch has given up."""
    return frozenset(filter(None, os.environ.get(GIVEN_UP, "").split(",")))


def leave_exit_code(code: int) -> int:
    """Leave the exit code in the file where this machine's launcher wants it.

    Returns the process's own: 0 then, since accelerate would take any other for a crash; the code
    itself where the process was started by hand.
    """
    path = os.environ.get(EXIT_FILE)
    if path is None:
        return code
    if read_world().local_rank == 0:
        Path(path).write_text(str(code), encoding="utf-8")
    return 0


def abandon_world(cause: str, *, how: str, aloud: bool) -> NoReturn:
    """End this process at once: what waits for another rank of a broken world waits in vain.

    The launcher is told the cause; by hand it is said, with how to go on.
    """
    path = os.environ.get(EXIT_FILE)
    if path is not None:
        Path(path).write_text(f"{BROKEN} {cause}", encoding="utf-8")
    elif aloud:
        sys.stderr.write(f"zoometry: {visible(cause)}; {visible(how)}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    # Python's own end would wait for torch.distributed's threads, which wait for the other ranks.
    os._exit(1)


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """Ask for a signal at the death of the thread that started this process."""
    _prctl(PR_SET_PDEATHSIG, signum)


def adopt_orphans() -> None:
    """Become the parent of every process below whose own parent dies."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def count_oom_kills(root: Path = Path("/")) -> int | None:
    """Count the processes of this control group that the kernel's out-of-memory killer ended.

    None where it doesn't tell. Version 2 of control groups counts in `memory.events`, version 1 in
    `memory.oom_control`; where neither can be read the whole machine's count must do. `root` is
    where /proc and /sys stand.
    """
    for path in [*_oom_counters(root), root / "proc/vmstat"]:
        found = _number_after("oom_kill", path)
        if found is not None:
            return found
    return None


def _oom_counters(root: Path) -> list[Path]:
    """List the files in which this process's control groups may count, most telling first.

    /proc/self/cgroup names the groups, a line each: ID:CONTROLLERS:PATH, without controllers in
    version 2.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    mounts = root / "sys/fs/cgroup"
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        group = path.strip("/")
        # A container's own group is mounted at the top, and its path is that of outside.
        if "memory" in controllers.split(","):
            for folder in (mounts / "memory" / group, mounts / "memory"):
                found.append(folder / "memory.oom_control")
        if not controllers:
            for mount in (mounts, mounts / "unified"):
                found += [mount / group / "memory.events", mount / "memory.events"]
    return found


def _number_after(word: str, path: Path) -> int | None:
    """Return the number behind a word in a file of `WORD NUMBER` lines; None if it isn't there."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, number = line.partition(" ")
        if name == word:
            return int(number)
    return None


def name_signal(signum: int) -> str:
    """Return a signal's name, or its number where it has none."""
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"


def start_server(modules: list[str]) -> None:
    """Start the server that `SERVER`'s processes are forked from.

    It imports what they need beside this process's own imports.
    """
    SERVER.set_forkserver_preload(modules)
    forkserver.ensure_running()
