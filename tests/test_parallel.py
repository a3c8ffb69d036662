"""AlexNet shared by processes, as a user starts it.

Oracle: one process with the same towers in a loop, to the bit;

the closed formula of the bytes that cross; half of the parameters a process.
"""

import signal
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file

from bench.results.record import Comparison, RunRecord
from bench.results.storage import read
from tests.support.processes import OURS, argv_of, variables
from tests.test_run import ROOT, SMALL, TRAIN_ONLY, launch, record, wait_for
from tests.test_run import place as place  # the fixture
from zoo import create_model

pytestmark = pytest.mark.distributed

MODEL = "alexnet_two_tower_cifar"
WHOLE = ["--models", MODEL, "--epochs", "3", *TRAIN_ONLY]


def said(kept: RunRecord) -> list[object]:
    return [(row.train_loss, row.evaluation) for row in kept.epochs] + [kept.accuracy]


@pytest.mark.ci
def test_a_tower_a_process_interrupted_and_resumed_equals_one_process(
    place: Path, tmp_path: Path
) -> None:
    run, alone = tmp_path / "towers", tmp_path / "alone"
    words = [*WHOLE, "--parallel", "tower", "--out", str(run)]
    started = subprocess.Popen(
        [*OURS, *words],
        cwd=ROOT,
        text=True,
        env=variables(place, NPROC="2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for(run / "log.txt", "epoch 1:")
    started.send_signal(signal.SIGTERM)
    _, err = started.communicate(timeout=60)
    assert started.returncode == 128 + signal.SIGTERM, err
    assert len(list((run / "cells").glob("*/checkpoints/step_*/model.*.safetensors"))) >= 2
    resumed = launch(place, *words, "--resume", NPROC="2")
    assert resumed.returncode == 0, resumed.stderr
    one = launch(place, *WHOLE, "--out", str(alone))
    assert one.returncode == 0, one.stderr
    shared, whole = record(run, MODEL), record(alone, MODEL)
    assert shared.resumed_from
    assert said(shared) == said(whole)
    assert shared.checksums["model.safetensors"] == whole.checksums["model.safetensors"]
    assert (shared.num_parameters, shared.world_size) == (whole.num_parameters, 2)
    assert shared.num_local_parameters == (whole.num_parameters or 0) // 2
    create_model(MODEL, num_classes=10).load_state_dict(
        load_file(run / "cells" / f"{MODEL}-s0" / "model.safetensors")
    )


@pytest.mark.ci
def test_what_a_shared_model_costs_is_measured(place: Path, tmp_path: Path) -> None:
    """A step sends 2 B s (units before conv3, fc6, fc7 and fc8) + B s (half of the classes)."""
    run = tmp_path / "measured"
    words = [
        "--models",
        MODEL,
        *argv_of("--epochs 1 --clip 1 --ema 0.9 --pairs 2 --measure train memory"),
    ]
    done = launch(place, *words, *SMALL, "--parallel", "tower", "--out", str(run), NPROC="2")
    assert done.returncode == 0, done.stderr
    found = {m.metric: m for m in read(run / "comparison.json", Comparison).measurements[MODEL]}
    units = (
        128 * 2 * 2 + 128 + 2048 + 2048
    )  # of one tower at 32 px: its maps after pool2 and pool5, fc6, fc7
    expected = 2 * 32 * 4 * units + 32 * 4 * 5
    # Rounds that something else disturbed are made again: there may be more than two.
    assert [set(rank) for rank in found["exchanged_bytes"].values] == [{expected}] * 2
    assert len(found["peak_memory_bytes"].values) == 2
    whole = 3 * 4 * (record(run, MODEL).num_parameters or 0)  # weights, gradients, momentum
    assert max(max(rank) for rank in found["peak_memory_bytes"].values) < 0.9 * whole


@pytest.mark.ci
@pytest.mark.parametrize(
    ("way", "processes", "accumulate"), [("tower", "4", "2"), ("owt", "2", "1"), ("owt", "4", "2")]
)
def test_a_mesh_equals_one_process(
    way: str, processes: str, accumulate: str, place: Path, tmp_path: Path
) -> None:
    """The towers' mesh to the bit, with as many micro-batches.

    "one weird trick" adds up in another order.
    """
    run, alone = tmp_path / "mesh", tmp_path / "alone"
    done = launch(place, *WHOLE, "--parallel", way, "--out", str(run), NPROC=processes)
    assert done.returncode == 0, done.stderr
    one = launch(place, *WHOLE, "--accumulate", accumulate, "--out", str(alone))
    assert one.returncode == 0, one.stderr
    shared, whole = record(run, MODEL), record(alone, MODEL)
    if way == "tower":
        assert shared.checksums["model.safetensors"] == whole.checksums["model.safetensors"]
        assert said(shared) == said(whole)
    assert shared.epochs[0].train_loss == pytest.approx(whole.epochs[0].train_loss, rel=1e-3)


@pytest.mark.ci
def test_towers_on_two_devices_of_one_process_equal_the_same_on_one(
    place: Path, tmp_path: Path
) -> None:
    run, alone = tmp_path / "devices", tmp_path / "alone"
    words = ["--models", MODEL, "--epochs", "1", *TRAIN_ONLY, "--out"]
    for folder, more in ((run, ["--parallel", "devices"]), (alone, [])):
        done = launch(place, *words, str(folder), *more)
        assert done.returncode == 0, done.stderr
    assert (
        record(run, MODEL).checksums["model.safetensors"]
        == record(alone, MODEL).checksums["model.safetensors"]
    )


@pytest.mark.parametrize(
    ("words", "processes", "line"),
    [
        (
            ["--models", MODEL, "--parallel", "tower"],
            "1",
            "1 processes can't form pairs; set NPROC=2",
        ),
        (
            ["--models", MODEL, "--parallel", "tower"],
            "3",
            "3 processes can't form pairs; set NPROC=4",
        ),
        (
            ["--models", MODEL, "lenet5", "--parallel", "tower"],
            "2",
            "lenet5 can't be shared this way; alexnet_two_tower",
        ),
        (
            ["--models", "alexnet_half", "--parallel", "tower"],
            "2",
            "any model with --parallel data",
        ),
        (
            ["--models", "tv:alexnet", "--parallel", "owt"],
            "2",
            "tv:alexnet can't be shared this way",
        ),
        (["--models", MODEL, "--parallel", "devices"], "2", "is for one process, not 2"),
        (["--models", MODEL, "--parallel", "towers"], "2", "did you mean tower"),
        (["--models", MODEL, "--parallel", "tower", "--compile"], "2", "doesn't go with --compile"),
        (
            ["--models", MODEL, "--schedule", "plateau", "--protocol", "published"],
            "1",
            "published has none",
        ),
    ],
)
def test_a_share_that_can_not_be_is_refused_in_one_line(
    words: list[str], processes: str, line: str, place: Path, tmp_path: Path
) -> None:
    run = tmp_path / "refused"
    done = launch(place, *words, "--epochs", "1", *TRAIN_ONLY, "--out", str(run), NPROC=processes)
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert not run.exists()
