"""The processes of a run as the environment tells them, before torch is imported.

Who was asked for, who is there.
"""

import ctypes
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import NoReturn

import psutil

EXIT_FILE = "ZOOMETRY_EXIT_FILE"  # names the file where launch.sh wants the exit code, which accelerate turns into 1
LAUNCHER = "ZOOMETRY_LAUNCHER"  # the process that launch.sh became
GIVEN_UP = "ZOOMETRY_GIVEN_UP"  # cells that brought down a world of this launch: their records stay as they are
BROKEN = 75  # left in the exit file by a world that broke, with the cause: a new world can go on (BSD's EX_TEMPFAIL)
LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # torch reads it once: large tensors on large pages train 2 to 15 % faster on CPU
RELAUNCH = "ZOOMETRY_RELAUNCH"  # says that this start only measures: cells are kept as they are
# A process's place among others; with the launcher's own words, what would make a fresh process
# join its world.
PLACE = frozenset(
    {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
)
LAUNCHED = PLACE | {EXIT_FILE, "TORCHELASTIC_USE_AGENT_STORE"}


@dataclass(frozen=True)
class World:
    """This process among the processes of a run, as torchrun and accelerate put it into the environment."""

    rank: int
    size: int
    local_rank: int
    local_size: int

    @property
    def speaks(self) -> bool:
        """Whether this process is the one that tells the user of an error."""
        return self.rank == 0


def world_of(environment: Mapping[str, str] = os.environ) -> World:
    """Read the world from the environment; one process where nothing is said."""

    def number(name: str, default: int) -> int:
        return int(environment.get(name, default))

    return World(
        number("RANK", 0),
        number("WORLD_SIZE", 1),
        number("LOCAL_RANK", 0),
        number("LOCAL_WORLD_SIZE", 1),
    )


def num_cores() -> int:
    """Cores that this process may use: its affinity, less what a cgroup's quota takes away."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return allowed
    return allowed if quota == "max" else max(1, min(allowed, round(int(quota) / int(period))))


def num_gpus(environment: Mapping[str, str] = os.environ) -> int:
    """CUDA devices that a worker will see, asked of the driver's own tool.

    Torch would take seconds to say it.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    if environment.get("ACCELERATE_USE_CPU", "").lower() in (
        "1",
        "true",
        "yes",
    ) or not shutil.which("nvidia-smi"):
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def check_world(
    asked: int | None, world: World, environment: Mapping[str, str] = os.environ
) -> None:
    """Refuse a world other than the one that was asked for, with the command that works.

    accelerate starts a single process, without a word, where it was asked for several on a machine without GPUs; and a
    rendezvous address without a world size is a launch that lost its way.
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
        f"on this machine use `NPROC={num_processes} ./launch.sh …`, or `ACCELERATE_USE_CPU=true accelerate launch "
        f"--multi_gpu --num_processes {num_processes} --num_machines 1 --main_process_port 0 bench/run.py …`"
    )


def _asked_of_launcher() -> int | None:
    """How many processes the command line of the launcher above this process names.

    None if it names none.
    """
    words = _launcher_above()
    for i, word in enumerate(words):
        name, _, value = word.partition("=")
        if name in ("--num_processes", "--num-processes"):
            value = value or (words[i + 1] if i + 1 < len(words) else "")
            return int(value) if value.isdigit() else None
    return None


def _launcher_above() -> list[str]:
    """The command line of accelerate or torchrun above this process.

    Empty if its parent is something else.
    """
    parent = psutil.Process().parent()
    try:
        words = parent.cmdline() if parent else []
    except psutil.Error:
        return []
    return words if any("accelerate" in word or "torchrun" in word for word in words) else []


def follow_launcher() -> None:
    """Ask for SIGTERM at the launcher's death: its workers keep what they have and leave, and none is left behind.

    accelerate, started by hand, dies of a SIGTERM at once and says nothing to its child.
    """
    if EXIT_FILE in os.environ or _launcher_above():
        die_with_parent(signal.SIGTERM)
    launcher = os.environ.get(LAUNCHER)
    if launcher and not psutil.pid_exists(int(launcher)):
        sys.exit(128 + signal.SIGTERM)


def is_orphan(parent: int) -> bool:
    """Whether launch.sh started this process and is gone, killed outright.

    `parent` is who started this process.
    """
    launcher = os.environ.get(LAUNCHER)
    return launcher is not None and os.getppid() not in (parent, int(launcher))


def given_up() -> frozenset[str]:
    """The cells that this launch has given up, by name."""
    return frozenset(filter(None, os.environ.get(GIVEN_UP, "").split(",")))


def leave(code: int) -> int:
    """Give the exit code to the launcher of this machine that asked for it in a file.

    By hand, it is the process's.
    """
    path = os.environ.get(EXIT_FILE)
    if path is None:
        return code
    if world_of().local_rank == 0:
        Path(path).write_text(str(code), encoding="utf-8")
    return 0


def abandon(cause: str, *, how: str, aloud: bool) -> NoReturn:
    """End this process at once: its world is broken, and whatever waits for another rank would wait in vain.

    The launcher is told the cause; by hand it is said, with how to go on.
    """
    path = os.environ.get(EXIT_FILE)
    if path is not None:
        Path(path).write_text(f"{BROKEN} {cause}", encoding="utf-8")
    elif aloud:
        sys.stderr.write(f"zoometry: {cause}; {how}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


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

    Version 2 of control groups counts in `memory.events`, version 1 in `memory.oom_control`; where
    neither can be read the whole machine's count must do. `root` is where /proc and /sys stand.
    """
    for path in [*_counters(root), root / "proc/vmstat"]:
        found = _number_after("oom_kill", path)
        if found is not None:
            return found
    return None


def _counters(root: Path) -> list[Path]:
    """The files in which this process's control groups count, as /proc/self/cgroup names them.

    ID:CONTROLLERS:PATH.
    """
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
    """Where a group's file may be.

    A container's own group is mounted at the top, and its path is that of outside.
    """
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


SERVER = multiprocessing.get_context("forkserver")


def start_server() -> None:
    """Let the server import what a cell needs, beside this process's own imports.

    torch itself brings in `torch._dynamo`, which takes seconds, when it counts a model or builds an
    optimiser.
    """
    SERVER.set_forkserver_preload(["bench.cell.run_cell", "torch._dynamo"])
    forkserver.ensure_running()
