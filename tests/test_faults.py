"""Runs that are killed, stopped, or find no room to write.

Oracle: the same run left alone, to the bit.

The short form makes ten kills; `pytest -m soak tests/test_faults.py` makes a hundred.
"""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.results.record import CellKey, RunRecord
from bench.results.sealed_folder import hash_file
from bench.results.storage import read
from bench.train import checkpoint
from tests.support.harm import Harm
from tests.support.image_factory import write_cifar10
from tests.support.processes import Outcome, World, argv_of

pytestmark = [pytest.mark.distributed, pytest.mark.ci]

# AlexNet with dropout, a network with BatchNorm, and LeNet.
MODELS = ("alexnet_half_cifar", "shufflenet_v2_x1_0", "lenet5")
STEPS_PER_EPOCH = 5  # 180 images in batches of 32
PLACES = (
    "step",
    "step",
    "step",
    "step",
    "save",
    "tensors",
    "rename",
    "record",
    "evaluate",
    "restore",
)
ENDS_WITHIN = 30.0  # seconds from a rank's death to the end of the others


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small CIFAR-10, in which the runs are."""
    folder = tmp_path_factory.mktemp("harmed")
    write_cifar10(folder / "data" / "cifar10")
    return folder


def run_world(place: Path, words: list[str], harms: Mapping[int, Harm] | None = None) -> Outcome:
    """Run a world of two ranks to its end, some of them harmed."""
    data = {"ZOOMETRY_DATA": str(place / "data"), "XDG_CACHE_HOME": str(place / "cache")}
    return World(place / "said", 2, words, data, harms or {}).wait(60)


def words_for(model: str, run: Path, *, epochs: int, more: tuple[str, ...] = ()) -> list[str]:
    """The options of a run that keeps a checkpoint at every step."""
    plain = argv_of("--dataset cifar10 --image-size 32 --batch-size 32 --num-threads 1")
    plain.append("--channels-last")
    often = ["--measure", "none", "--checkpoint-seconds", "0.0001", "--epochs", str(epochs)]
    return ["--models", model, *plain, *often, *more, "--out", str(run)]


def outcome(run: Path, model: str) -> dict[str, Any]:
    """What must be the same to the bit.

    Final weights, the optimiser's state, the log of losses, what was predicted.
    """
    folder = run / "cells" / CellKey(model, 0).name
    record = read(folder / "record.json", RunRecord)
    assert record.status == "ok", record.error
    # Time, and what other processes took meanwhile, are of the machine.
    log = [replace(row, seconds=0.0, taken_cores=None) for row in record.epochs]
    sums = {
        name: hash_file(folder / name) for name in ("model.safetensors", "optimizer.safetensors")
    }
    return {
        "log": log,
        "accuracy": record.accuracy,
        "sums": sums,
        "predictions": record.checksums["predictions.npz"],
        "scores": record.checksums["scores.npz"],
    }


def draw_harm(draw: np.random.Generator) -> dict[int, Harm]:
    """Draw who is killed, where and when.

    Only the first rank comes by the places where files are written.
    """
    place = str(draw.choice(PLACES))
    rank = int(draw.integers(2)) if place in ("step", "evaluate", "restore") else 0
    count = 1 if place in ("evaluate", "restore") else int(draw.integers(1, 4))
    return {rank: {"place": place, "count": count, "act": "kill"}}


def kill_and_resume(place: Path, model: str, num_kills: int, seed: int, epochs: int) -> list[str]:
    """Kill a run again and again and let it end; returns the places of its deaths."""
    draw = np.random.default_rng(seed)
    run, places = place / f"killed-{model}", []
    words = words_for(model, run, epochs=epochs)
    while len(places) < num_kills:
        harms = draw_harm(draw)
        ended = run_world(place, [*words, "--resume"], harms)
        ((rank, harm),) = harms.items()
        assert ended.codes[rank] == -9, (harm, ended)
        assert ended.codes[1 - rank] == 1, (harm, ended)
        assert ended.seconds < ENDS_WITHIN
        assert f"rank {rank} of 2 no longer answers" in ended.texts[1 - rank], ended.texts
        assert "Traceback" not in "".join(ended.texts)
        places.append(harm["place"])
    ended = run_world(place, [*words, "--resume"])
    assert ended.codes == [0, 0], ended.texts
    return places


def compare(place: Path, model: str, num_kills: int, seed: int) -> None:
    epochs = 2 + 3 * num_kills // STEPS_PER_EPOCH
    kill_and_resume(place, model, num_kills, seed, epochs)
    alone = run_world(place, words_for(model, place / f"alone-{model}", epochs=epochs))
    assert alone.codes == [0, 0], alone.texts
    assert outcome(place / f"killed-{model}", model) == outcome(place / f"alone-{model}", model)


@pytest.mark.parametrize(
    ("model", "num_kills", "seed"), [(MODELS[0], 3, 1), (MODELS[1], 3, 2), (MODELS[2], 4, 3)]
)
def test_ten_kills_change_nothing(place: Path, model: str, num_kills: int, seed: int) -> None:
    compare(place, model, num_kills, seed)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("model", "num_kills", "seed"), [(MODELS[0], 33, 4), (MODELS[1], 33, 5), (MODELS[2], 34, 6)]
)
def test_a_hundred_kills_change_nothing(place: Path, model: str, num_kills: int, seed: int) -> None:
    for left in place.glob(f"*-{model}"):
        shutil.rmtree(left)
    compare(place, model, num_kills, seed)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_stops_is_named_when_its_time_is_up(place: Path, rank: int) -> None:
    run = place / f"stopped-{rank}"
    words = words_for("lenet5", run, epochs=2, more=("--timeout", "4"))
    ended = run_world(place, words, {rank: {"place": "step", "count": 3, "act": "stop"}})
    assert ended.codes[1 - rank] == 1
    assert ended.seconds < ENDS_WITHIN
    (line,) = [line for line in ended.texts[1 - rank].splitlines() if line.startswith("zoometry:")]
    assert f"rank {rank} of 2 no longer answers: dead, or silent for 4 s (--timeout)" in line
    assert "--resume" in line


@pytest.mark.parametrize(
    ("act", "cause"), [("full", "File too large"), ("read-only", "Permission denied")]
)
def test_a_disk_that_takes_nothing_more_ends_the_run_with_one_line(
    place: Path, act: str, cause: str
) -> None:
    run = place / act
    words = words_for("lenet5", run, epochs=2)
    ended = run_world(place, words, {0: {"place": "save", "count": 3, "act": act}})
    assert ended.codes == [1, 1], ended.texts
    checkpoints = run / "cells" / "lenet5-s0" / "checkpoints"
    checkpoints.chmod(0o755)
    (line,) = [line for line in "".join(ended.texts).splitlines() if line.startswith("zoometry:")]
    assert cause in line
    assert "--resume" in line
    assert "Traceback" not in "".join(ended.texts)
    kept = sorted(checkpoints.iterdir())
    assert len(kept) == 2
    for step in kept:
        # Raises if it is damaged; a half-written folder has another name and no manifest.
        checkpoint.verify(step)
    assert not list(run.rglob("*.tmp"))
    resumed = run_world(place, [*words, "--resume"])
    assert resumed.codes == [0, 0], resumed.texts
    record = read(run / "cells" / "lenet5-s0" / "record.json", RunRecord)
    assert record.resumed_from == max(int(step.name[5:]) for step in kept)
