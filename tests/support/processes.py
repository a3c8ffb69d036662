"""Every way in which the tests start processes.

- `run_command`: a command of ours, run to its end in a fresh process;
- `Launch`: a run under way, started as a user starts it, that can be signalled and harmed;
- `World`: the ranks of a run, forked from a server that has imported torch, so that a world costs
  a second and not ten; any of them can be harmed on its way;
- `Runs`: worlds in a folder of small data, each by its name.
"""

import multiprocessing
import os
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psutil

from bench.launch.supervise import STARTER
from bench.results.record import RunRecord
from bench.results.storage import read
from tests.support.harm import Harm, keep_optimizer, prepare_harm
from tests.support.image_factory import random_images, write_cifar10, write_parquet

ROOT = Path(__file__).parents[2]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["bench.run", "bench.cell.plan", "bench.measure.compare"])
PATIENCE = 120.0  # seconds that a world gets
SURVIVORS_WAIT = 1.0  # seconds of a roll call in a harmed world: all ranks are on this machine
MODELS = Path(__file__).parent / "stopping_models.py"
# Which memory format is faster is a matter of the minute, and runs are compared bit for bit.
CIFAR10 = (
    *("--dataset", "cifar10", "--num-threads", "1", "--measure", "none"),
    "--channels-last",
)
SMALL = (*CIFAR10, "--epochs", "2", "--batch-size", "24")
LAUNCHED = (*CIFAR10, "--image-size", "32", "--batch-size", "32")
LONG = ("--models", "lenet5", "--epochs", "3000", "--checkpoint-seconds", "0.2")
OURS = (sys.executable, "-m", "bench.launch")
# The modules by which a launcher starts the workers: accelerate's by hand, and ours.
STARTERS = {"accelerate.commands.launch", STARTER}
ACCELERATE = (sys.executable, "-m", "accelerate.commands.launch")
HAND = (*ACCELERATE, "--num_processes", "1", "--mixed_precision", "no", "--cpu")


def argv_of(line: str) -> list[str]:
    """Split a command line into its words: a list of them is hard to read."""
    return line.split()


def variables(place: Path, **more: str) -> dict[str, str]:
    """Make an environment with the data and the cache of a folder, and nobody's launcher in it."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("NPROC", "NNODES", "SLURM"))}
    own = {"ZOOMETRY_DATA": str(place), "XDG_CACHE_HOME": str(place / "cache")}
    return mine | own | {"PYTHONPATH": str(ROOT)} | more


def run_command(
    *words: str, place: Path | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run `python WORDS` from the root to its end, with the data of `place` if one is given."""
    environment = os.environ | more if place is None else variables(place, **more)
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


class Launch:
    """A run under way, started by some command."""

    def __init__(
        self,
        place: Path,
        *words: str,
        command: Sequence[str] = OURS,
        options: Sequence[str] = LAUNCHED,
        **more: str,
    ) -> None:
        self.run = place / "run"
        if not (place / "data").exists():
            write_cifar10(place / "data" / "cifar10")
        data = {"ZOOMETRY_DATA": str(place / "data")}
        self.process = subprocess.Popen(
            [*command, *words, *options, "--out", str(self.run)],
            cwd=ROOT,
            env=variables(place, **data | more),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def wait_for(self, text: str, seconds: float = 120) -> None:
        """Wait until the run's log says something."""
        log, end = self.run / "log.txt", time.monotonic() + seconds
        while time.monotonic() < end:
            if log.exists() and text in log.read_text():
                return
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.05)
        raise AssertionError(f"{text!r} did not come")

    def workers(self) -> list[psutil.Process]:
        """Return the processes of this run that train, by their rank."""
        above = {self.pid, *(one.pid for one in self.all() if STARTERS & set(one.cmdline()))}
        return [one for one in self.all() if one.pid not in above]

    def between(self) -> psutil.Process:
        """Return the process that runs accelerate's launcher."""
        (found,) = [one for one in self.all() if STARTERS & set(one.cmdline())]
        return found

    @property
    def pid(self) -> int:
        return self.process.pid

    def all(self) -> list[psutil.Process]:
        """Every process whose command names this run, oldest first."""
        found = []
        for process in psutil.process_iter():
            try:
                if str(self.run) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return sorted(found, key=lambda one: one.pid)

    def end(self, seconds: float = 60) -> tuple[int, str, str]:
        """Wait for the command; its exit code and what it wrote."""
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err

    def gone_within(self, seconds: float) -> bool:
        """Whether no process of the run is left within some time."""
        end = time.monotonic() + seconds
        while self.all() and time.monotonic() < end:
            time.sleep(0.05)
        return not self.all()


@dataclass(frozen=True)
class Outcome:
    """How the ranks of a world ended.

    Exit codes (minus the signal), what each wrote, and the seconds since the harm.
    """

    codes: list[int]
    texts: list[str]
    seconds: float


class World:
    """The ranks of a run under way, in a folder that takes what they write. No report is made."""

    def __init__(
        self,
        folder: Path,
        size: int,
        argv: Sequence[str],
        environment: Mapping[str, str],
        harms: Mapping[int, Harm] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.marks = [folder / f"harmed-{rank}" for rank in range(size)]
        self.said = [folder / f"said-{rank}" for rank in range(size)]
        for mark in self.marks:
            mark.unlink(missing_ok=True)
        self.ranks: list[ForkServerProcess] = []
        for rank, place in enumerate(_places(size)):
            harm = None if harms is None else harms.get(rank, {})
            task = (list(argv), {**environment, **place}, self.said[rank], harm, self.marks[rank])
            self.ranks.append(FORKS.Process(target=_be_rank, args=task))
        for process in self.ranks:
            process.start()

    def wait(self, limit: float = PATIENCE) -> Outcome:
        """Wait for all ranks but those that are stopped, which are ended when the others have."""
        began, harmed = time.monotonic(), 0.0
        while any(rank.exitcode is None for rank in self.ranks):
            time.sleep(0.02)
            if not harmed and any(mark.exists() for mark in self.marks):
                harmed = time.monotonic()
            waiting = [rank for rank in self.ranks if rank.exitcode is None]
            late = time.monotonic() - began > limit
            if late or all(_is_stopped(rank) for rank in waiting):
                for rank in waiting:
                    rank.kill()
                    rank.join()
        assert time.monotonic() - began < limit, f"the world was still running after {limit} s"
        codes = [rank.exitcode or 0 for rank in self.ranks]
        texts = [path.read_text() for path in self.said]
        return Outcome(codes, texts, time.monotonic() - (harmed or began))


class Runs:
    """Runs in a folder of small data: each by its name, on a number of processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = small_data(folder)

    def start(
        self,
        name: str,
        size: int,
        *words: str,
        models: Sequence[str],
        **more: str,
    ) -> World:
        """Start a run; `models` are names of the zoo and of `stopping_models.py`."""
        stopping = ("norm", "plain", "deadly", "idle", "branching")
        named = [f"{MODELS}:{model}" if model in stopping else model for model in models]
        argv = ["--models", *named, *SMALL, *words, "--out", str(self.folder / name)]
        data = {"ZOOMETRY_DATA": str(self.folder), "XDG_CACHE_HOME": str(self.folder / "cache")}
        return World(self.folder / "said" / name, size, argv, data | more)

    def run(
        self, name: str, size: int, *words: str, models: Sequence[str], **more: str
    ) -> list[int]:
        """Run to the end; return the processes' exit codes."""
        return self.start(name, size, *words, models=models, **more).wait().codes

    def records(self, name: str) -> dict[str, RunRecord]:
        """Read the records of a run, by the model's bare name and the seed."""
        found = [read(path, RunRecord) for path in (self.folder / name).glob("cells/*/record.json")]
        return {f"{record.model.rpartition(':')[2]} {record.seed}": record for record in found}

    def outcome(self, name: str) -> dict[str, tuple[str, list[float]]]:
        """Return each cell's weights, as their checksum, and its losses; all must be ok."""
        records = self.records(name)
        assert {record.status for record in records.values()} == {"ok"}
        return {
            cell: (record.checksums["model.safetensors"], [row.train_loss for row in record.epochs])
            for cell, record in records.items()
        }


def small_data(folder: Path) -> Path:
    """Write a small CIFAR-10 in the hub's layout into a folder: 9 steps of 24 images an epoch."""
    for part, n, seed in (("train", 240, 0), ("test", 50, 1)):
        images, labels = random_images(n, seed)
        write_parquet(folder / "cifar10", part, images, {"label": labels.tolist()})
    return folder


def _places(size: int) -> list[dict[str, str]]:
    """Make what a launcher tells each worker; a single one is told nothing."""
    if size == 1:
        return [{}]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "GLOO_SOCKET_IFNAME": "lo",
        "ACCELERATE_USE_CPU": "true",
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
    }
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]


def free_port() -> int:
    """Find a port of the loopback interface that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _is_stopped(rank: ForkServerProcess) -> bool:
    try:
        state = Path(f"/proc/{rank.pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # it ended meanwhile
        return False
    return state == "T"


def _be_rank(
    argv: list[str], environment: Mapping[str, str], said: Path, harm: Harm | None, mark: Path
) -> None:
    """Become a rank: its environment, its output, its harm; ends the process."""
    os.environ.update(environment)
    written = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(written, 1)
    os.dup2(written, 2)
    from bench import run

    run.write_report = lambda config: True
    if harm is not None:
        from bench.distributed import roll_call

        roll_call.LATER = SURVIVORS_WAIT
        keep_optimizer()
    if harm:
        prepare_harm(harm, mark)
    code = 1
    try:
        code = run.main(argv)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
