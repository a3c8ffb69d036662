"""Rates of real runs.

Oracles: the clock of another process that reads the log, and a rank that sleeps as it is told.

The only bounds on time are that a sleep takes no less than it says, and that two clocks saw the
same steps.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.results.record import Comparison, Measurement, RunRecord
from bench.results.storage import read
from tests.support.image_factory import random_images, write_parquet
from tests.support.processes import argv_of

pytestmark = pytest.mark.distributed

ROOT = Path(__file__).parent.parent
SLEEP = 0.05
BATCH = 32
SLOW = f"""
import os, time
from torch import nn

class Slow(nn.Flatten):
    def forward(self, images):
        if os.environ.get("RANK") == "1":
            time.sleep({SLEEP})
        return super().forward(images)

def slow_on_one_rank(num_classes=100):
    return nn.Sequential(Slow(), nn.Linear(3072, num_classes))
"""


def rate(record: RunRecord) -> Measurement:
    return next(row for row in record.measurements if row.metric == "fit_images_per_second")


@pytest.mark.slow  # two clocks agree only where nothing else runs
def test_the_rate_is_that_of_an_outside_clock(tmp_path: Path) -> None:
    """The first model wakes the process up.

    The second one's images are timed where they are written down.
    """
    run = tmp_path / "run"
    words = argv_of("--models mlp lenet5 --dataset synthetic --seconds 5 --measure none")
    command = [
        sys.executable,
        "-m",
        "bench.run",
        *words,
        "--batch-size",
        str(BATCH),
        "--num-threads",
        "1",
    ]
    worker = subprocess.Popen(
        [*command, "--out", str(run)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    seen: list[tuple[float, int]] = []
    log, place = run / "log.txt", 0
    while worker.poll() is None:
        time.sleep(0.002)
        text = log.read_text(encoding="utf-8")[place:] if log.exists() else ""
        now, lines = time.perf_counter(), text.splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        place += sum(map(len, whole))
        found = [re.search(r"lenet5, seed 0: (\d+) images", line) for line in whole]
        seen += [(now, int(match[1])) for match in found if match]
    assert worker.returncode == 0
    record = read(run / "cells" / "lenet5-s0" / "record.json", RunRecord)
    assert len(record.epochs) == 1  # no evaluation between the steps
    (start, first), (end, last) = seen[0], seen[-1]
    assert first == BATCH
    assert (last - first) / (end - start) == pytest.approx(rate(record).value, rel=0.03)


@pytest.mark.ci
def test_a_slow_rank_slows_the_world_and_the_images_of_all_ranks_count(tmp_path: Path) -> None:
    for part, n, seed in (("train", 320, 0), ("test", 50, 1)):
        images, labels = random_images(n, seed)
        write_parquet(tmp_path / "cifar10", part, images, {"label": labels.tolist()})
    (tmp_path / "mine.py").write_text(SLOW)
    words = [
        "--models",
        f"{tmp_path / 'mine.py'}:slow_on_one_rank",
        *argv_of("--dataset cifar10 --epochs 1"),
    ]
    words += [
        "--batch-size",
        str(BATCH),
        *argv_of("--pairs 3 --measure train --out"),
        str(tmp_path / "run"),
    ]
    mine = {"NPROC": "2", "ZOOMETRY_DATA": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run(
        [sys.executable, "-m", "bench.launch", *words], cwd=ROOT, env=os.environ | mine, check=True
    )
    (path,) = (tmp_path / "run" / "cells").glob("*/record.json")
    record = read(path, RunRecord)
    (row,) = record.epochs
    fit = rate(record)
    assert fit.images == row.images == row.step * BATCH  # both ranks' images
    assert (
        fit.value <= BATCH / SLEEP
    )  # the sleeping rank's pace; the mean of the ranks' would be above it
    compared = read(tmp_path / "run" / "comparison.json", Comparison)
    (measured,) = compared.measurements.values()
    step = next(each for each in measured if each.metric == "unsynced_step_images_per_second")
    fast, slow = step.values
    assert min(slow) >= SLEEP
    assert min(fast) < SLEEP  # without exchange nothing makes this rank wait
    assert step.value <= BATCH / SLEEP
