"""Worlds of processes for tests: each runs `bench.run` as a launcher's worker does, within a second.

The processes are forked from a server that has imported torch and nothing more, so that none pays
for its imports.
"""

import multiprocessing
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from bench.results.record import RunRecord
from bench.results.storage import read
from tests.support.image_factory import random_images, write_parquet

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["bench.measure.compare"])
PATIENCE = 120  # seconds
MODELS = Path(__file__).parent / "stopping_models.py"
SMALL = [
    "--dataset",
    "cifar10",
    "--epochs",
    "2",
    "--batch-size",
    "24",
    "--num-threads",
    "1",
    "--measure",
    "none",
]


def small_data(folder: Path) -> Path:
    """Write a small CIFAR-10 in the hub's layout into a folder: 9 steps of 24 images an epoch."""
    for part, n, seed in (("train", 240, 0), ("test", 50, 1)):
        images, labels = random_images(n, seed)
        write_parquet(folder / "cifar10", part, images, {"label": labels.tolist()})
    return folder


class Runs:
    """Runs in a folder of small data: each by its name, on a number of processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = small_data(folder)

    def start(
        self, name: str, size: int, *words: str, models: Sequence[str], **variables: str
    ) -> "World":
        """Start a run; `models` are names of the zoo and of `stopping_models.py`."""
        ours = [
            f"{MODELS}:{model}" if model in ("norm", "plain", "deadly") else model
            for model in models
        ]
        argv = ["--models", *ours, *SMALL, *words, "--out", str(self.folder / name)]
        data = {"ZOOMETRY_DATA": str(self.folder), "XDG_CACHE_HOME": str(self.folder / "cache")}
        return World(size, argv, data | variables)

    def run(
        self, name: str, size: int, *words: str, models: Sequence[str], **variables: str
    ) -> list[int]:
        """Run to the end; returns the processes' exit codes."""
        return self.start(name, size, *words, models=models, **variables).wait()

    def records(self, name: str) -> dict[str, RunRecord]:
        """Read the records of a run, by the model's bare name and the seed."""
        found = [read(path, RunRecord) for path in (self.folder / name).glob("cells/*/record.json")]
        return {f"{record.model.rpartition(':')[2]} {record.seed}": record for record in found}

    def outcome(self, name: str) -> dict[str, tuple[str, list[float]]]:
        """Each cell's weights, as their checksum, and its losses; all must be ok."""
        records = self.records(name)
        assert {record.status for record in records.values()} == {"ok"}
        return {
            cell: (record.checksums["model.safetensors"], [row.train_loss for row in record.epochs])
            for cell, record in records.items()
        }


class World:
    """The processes of a run under way. The report isn't written."""

    def __init__(self, size: int, argv: Sequence[str], variables: Mapping[str, str]) -> None:
        self.ranks: list[ForkServerProcess] = [
            FORKS.Process(target=_work, args=(list(argv), {**variables, **place}))
            for place in _places(size)
        ]
        for rank in self.ranks:
            rank.start()

    def wait(self) -> list[int]:
        """Wait for all; returns their exit codes."""
        for rank in self.ranks:
            rank.join(PATIENCE)
        late = [rank for rank in self.ranks if rank.exitcode is None]
        for rank in late:
            rank.kill()
        assert not late, (
            f"{len(late)} of {len(self.ranks)} processes were still running after {PATIENCE} s"
        )
        return [rank.exitcode or 0 for rank in self.ranks]


def _places(size: int) -> list[dict[str, str]]:
    """What a launcher tells each worker; a single one is told nothing."""
    if size == 1:
        return [{}]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "GLOO_SOCKET_IFNAME": "lo",
        "ACCELERATE_USE_CPU": "true",
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
    }
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]


def _work(argv: Sequence[str], variables: Mapping[str, str]) -> None:
    os.environ.update(variables)
    from bench import run

    run.write_report = lambda config: True
    sys.exit(run.main(argv))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
