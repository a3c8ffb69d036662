"""Starts real worlds for tests of faults.

A small data set, `bench.launch` and its workers, and who of them lives.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.support.image_factory import write_cifar10

ROOT = Path(__file__).parents[2]
SMALL = (
    "--dataset",
    "cifar10",
    "--image-size",
    "32",
    "--batch-size",
    "32",
    "--num-threads",
    "1",
    "--measure",
    "none",
)
LONG = ("--models", "lenet5", "--epochs", "3000", "--checkpoint-seconds", "0.2")
HAND = (
    sys.executable,
    "-m",
    "accelerate.commands.launch",
    "--num_processes",
    "1",
    "--mixed_precision",
    "no",
    "--cpu",
)
OURS = (sys.executable, "-m", "bench.launch")


def variables(place: Path, **more: str) -> dict[str, str]:
    """An environment with the small data set and a cache of its own."""
    if not (place / "data").exists():
        write_cifar10(place / "data" / "cifar10")
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("NPROC", "NNODES", "SLURM"))}
    own = {
        "ZOOMETRY_DATA": str(place / "data"),
        "XDG_CACHE_HOME": str(place / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    return mine | own | more


class Launch:
    """A run under way, started by some command."""

    def __init__(
        self, place: Path, *words: str, command: Sequence[str] = OURS, **more: str
    ) -> None:
        self.run = place / "run"
        self.process = subprocess.Popen(
            [*command, *words, *SMALL, "--out", str(self.run)],
            cwd=ROOT,
            env=variables(place, **more),
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
        """The processes of this run that train, by their rank.

        Accelerate's own is not one of them.
        """
        return [
            one
            for one in self.all()
            if "accelerate.commands.launch" not in one.cmdline() and one.pid != self.pid
        ]

    def between(self) -> psutil.Process:
        """accelerate's process."""
        (found,) = [one for one in self.all() if "accelerate.commands.launch" in one.cmdline()]
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
