"""Whole runs, started as a user starts them.

Oracle: the command line's contract, and what must be on disk then.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.results.metric import MEASURES
from bench.results.record import Comparison, RunRecord
from bench.results.storage import read
from tests.support.image_factory import random_images, write_parquet
from tests.support.processes import OURS, ROOT, argv_of, run_command, variables

pytestmark = pytest.mark.distributed

NUM_TRAIN, NUM_TEST = 480, 101
Start = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ["--dataset", "cifar10", "--batch-size", "32", "--num-threads", "1", "--channels-last"]
TRAIN_ONLY = [*SMALL, "--measure", "none"]

USERS = """
from torch import nn

def linear(num_classes=100):
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, num_classes))

def breaks_at_once(num_classes=100):
    raise RuntimeError("no such layer")

def breaks_later(num_classes=100):
    return nn.Sequential(nn.Flatten(), nn.Linear(7, num_classes))
"""


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small CIFAR-10 in the hub's layout, a file of models, and a cache."""
    folder = tmp_path_factory.mktemp("place")
    for part, n, seed in (("train", NUM_TRAIN, 0), ("test", NUM_TEST, 1)):
        images, labels = random_images(n, seed)
        write_parquet(folder / "cifar10", part, images, {"label": labels.tolist()})
    (folder / "mine.py").write_text(USERS)
    return folder


def launch(place: Path, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run `./launch.sh WORDS` as far as it goes beyond set-up."""
    return run_command("-m", "bench.launch", *words, place=place, **extra)


def run_here(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m bench.run WORDS`: one process, without the launcher's seconds."""
    return run_command("-m", "bench.run", *words, place=place)


def record(run: Path, model: str, seed: int = 0) -> RunRecord:
    return read(run / "cells" / f"{model}-s{seed}" / "record.json", RunRecord)


@pytest.mark.ci
def test_two_processes_train_as_one_world_and_see_every_image_once(
    place: Path, tmp_path: Path
) -> None:
    run = tmp_path / "two"
    words = [
        *argv_of("--models lenet5 --epochs 2 --pairs 3 --measure"),
        *MEASURES,
        *SMALL,
        "--out",
        str(run),
    ]
    done = launch(place, *words, NPROC="2")
    assert done.returncode == 0, done.stderr
    kept = record(run, "lenet5")
    assert kept.status == "ok"
    assert kept.world_size == 2
    assert kept.environment["num_threads"] == 1
    assert kept.accuracy is not None
    assert kept.accuracy.num_images == NUM_TEST
    assert [row.images for row in kept.epochs] == [416, 832]
    assert "report:" in done.stdout
    assert (run / "report.html").stat().st_size > 10_000
    with np.load(run / "cells" / "lenet5-s0" / "predictions.npz") as said:
        assert int((said["predicted"] == said["label"]).sum()) == kept.accuracy.num_top1
        losses, set_sizes = said["loss"], said["set_size"]
    assert losses.mean() == pytest.approx(kept.accuracy.loss, rel=1e-4)
    with np.load(run / "cells" / "lenet5-s0" / "scores.npz") as scores:
        assert scores["log_probabilities"].shape == (NUM_TEST, len(kept.data.class_names))
        assert len(scores["validation_log_probabilities"]) == kept.data.num_validation
    assert set_sizes.shape == (NUM_TEST,)
    compared = read(run / "comparison.json", Comparison)
    assert {len(row.values) for row in compared.measurements["lenet5"]} == {2}
    assert compared.same_model_twice
    metrics = {row.metric for row in compared.measurements["lenet5"]}
    assert metrics - {"energy_joules_per_image"} == {
        "train_images_per_second",
        "train_step_images_per_second",
        "loader_images_per_second",
        "unsynced_step_images_per_second",
        "infer_images_per_second",
        "latency_ms",
        "first_step_seconds",
        "peak_memory_bytes",
        "parameter_bytes",
        "gradient_bytes",
        "optimizer_bytes",
        "activation_bytes",
        "process_peak_bytes",
    }
    assert {row.metric for row in compared.machine} == {
        "matmul_flops_per_second",
        "copy_bytes_per_second",
    }
    assert [row.images for row in compared.sweeps["lenet5"]][:2] == [2, 4]
    assert "energy_joules_per_image" in metrics or compared.missing["energy_joules_per_image"]
    assert set(compared.noise) == {row.metric for row in compared.same_model_twice}
    verified = run_command("-m", "bench.verify", str(run))
    assert verified.returncode == 0, verified.stdout

    again = launch(place, *words, "--resume", NPROC="2")
    assert again.returncode == 0, again.stderr
    assert record(run, "lenet5") == kept


@pytest.mark.ci
def test_a_model_that_fails_is_a_row_and_the_others_go_on(place: Path, tmp_path: Path) -> None:
    run, file = tmp_path / "rows", place / "mine.py"
    models = [f"{file}:{name}" for name in ("breaks_at_once", "breaks_later", "linear")]
    done = launch(
        place, "--models", *models, "lenet5", "--epochs", "1", *TRAIN_ONLY, "--out", str(run)
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    kept = [read(path, RunRecord) for path in (run / "cells").glob("*/record.json")]
    status = {one.model.rpartition(":")[2]: (one.status, one.error) for one in kept}
    assert status["breaks_at_once"][0] == "failed"
    assert str(status["breaks_at_once"][1]).endswith(
        "mine.py:breaks_at_once: RuntimeError: no such layer"
    )
    assert status["breaks_later"][0] == "failed"
    assert status["linear"] == status["lenet5"] == ("ok", None)


@pytest.mark.ci
def test_a_loss_that_runs_away_is_a_row(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "away"
    done = launch(
        place, "--models", "lenet5", "--epochs", "5", "--lr", "1e9", *TRAIN_ONLY, "--out", str(run)
    )
    assert done.returncode == 1
    kept = record(run, "lenet5")
    assert kept.status == "diverged"
    assert "at step" in str(kept.error)


def wait_for(path: Path, text: str, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"{text!r} did not come in {path}")


def test_a_signal_before_anything_has_begun_is_a_line(place: Path, tmp_path: Path) -> None:
    words = argv_of(f"--models lenet5 --epochs 1 --measure none --out {tmp_path / 'run'}")
    # What a shell starts in the background is told to ignore the signal, and its children too.
    heed = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    start = f"import runpy, signal; {heed}; runpy.run_module('bench.run', run_name='__main__')"
    started = subprocess.Popen(
        [sys.executable, "-c", start, *words],
        cwd=ROOT,
        text=True,
        env=variables(place),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert started.stdout is not None
    started.stdout.readline()  # what is said of the data, before torch is imported
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=60)
    assert started.returncode == 128 + signal.SIGINT
    assert err.splitlines() == ["zoometry: interrupted before anything had begun"]


@pytest.mark.parametrize(
    ("number", "processes"),
    [
        pytest.param(signal.SIGINT, "1", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "2", marks=pytest.mark.ci),
    ],
)
def test_an_interrupted_run_ends_as_the_undisturbed_one(
    place: Path, tmp_path: Path, number: signal.Signals, processes: str
) -> None:
    words = [*argv_of("--models lenet5 resnet18 --image-size 32 --epochs 2"), *TRAIN_ONLY, "--out"]
    run = tmp_path / "stopped"
    started = subprocess.Popen(
        [*OURS, *words, str(run)],
        cwd=ROOT,
        text=True,
        env=variables(place, NPROC=processes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for(run / "log.txt", "resnet18, seed 0: training")
    time.sleep(1.0)
    started.send_signal(number)
    out, err = started.communicate(timeout=60)
    assert started.returncode == 128 + number, err
    assert "1 of 2 cells are finished" in out
    assert "--resume" in out
    assert record(run, "lenet5").status == "ok"
    assert record(run, "resnet18").status == "interrupted"

    resumed = launch(place, *words, str(run), "--resume", NPROC=processes)
    assert resumed.returncode == 0, resumed.stderr
    whole = launch(place, *words, str(tmp_path / "whole"), NPROC=processes)
    assert whole.returncode == 0, whole.stderr
    a, b = (record(tmp_path / name, "resnet18") for name in ("stopped", "whole"))
    assert a.checksums["model.safetensors"] == b.checksums["model.safetensors"]
    assert [(row.train_loss, row.evaluation) for row in a.epochs] == [
        (row.train_loss, row.evaluation) for row in b.epochs
    ]
    assert a.accuracy == b.accuracy


@pytest.mark.ci
def test_by_hand_accelerate_starts_the_same_run_with_all_cores(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "hand"
    words = argv_of("--models lenet5 --epochs 1 --dataset cifar10 --batch-size 32 --measure none")
    launcher = ("-m", "accelerate.commands.launch")
    done = run_command(*launcher, "bench/run.py", *words, "--out", str(run), place=place)
    assert done.returncode == 0, done.stderr
    assert record(run, "lenet5").environment["num_threads"] == len(os.sched_getaffinity(0))


def test_accelerates_lost_world_is_refused(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "lost"
    launcher = argv_of("-m accelerate.commands.launch --cpu --num_processes 2 bench/run.py")
    done = run_command(
        *launcher,
        "--models",
        "lenet5",
        "--epochs",
        "1",
        *TRAIN_ONLY,
        "--out",
        str(run),
        place=place,
    )
    assert done.returncode == 1  # accelerate's own, for any failure
    assert "2 processes were asked for and 1 started" in done.stderr
    assert not run.exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--models", "lenet6"], "did you mean lenet5"),
        (["--models", "lenet5", "--dataset", "cifar1000"], "did you mean cifar100"),
        (["--models", "lenet5", "--batch-size", "33"], "the nearest that can is 32"),
        (["--models", "lenet5", "--world", "3"], "NPROC=3"),
        (["--models", "lenet5", "--data-dir", "/nowhere"], "/nowhere"),
        (["--models", "nowhere.py:f"], "nowhere.py"),
        (["--models", "lenet5", "--out", "pyproject.toml"], "is a file"),
        (["--models", "lenet5", "--out", "zoo"], "holds other files"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_request_ends_at_once_with_one_line(
    place: Path, words: list[str], line: str
) -> None:
    done = launch(place, "--epochs", "1", *words, NPROC="2")
    assert done.returncode == 2
    assert line in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    ("start", "words", "line"),
    [
        (launch, ["--models", "tv:resnet1800"], "torchvision has no model 'resnet1800'"),
        (run_here, ["--models", "lenet5", "--precision", "fp16"], "choose fp32 or bf16"),
    ],
    ids=["launched", "alone"],
)
def test_what_only_the_workers_know_is_refused_as_well(
    place: Path, tmp_path: Path, start: Start, words: list[str], line: str
) -> None:
    run = tmp_path / "never"
    done = start(place, "--epochs", "1", *SMALL, *words, "--out", str(run))
    assert done.returncode == 2
    assert line in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not run.exists()


def test_a_truncated_data_file_is_refused_by_its_name(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cifar10"
    folder.mkdir()
    for path in (place / "cifar10").iterdir():
        (folder / path.name).write_bytes(
            path.read_bytes()[: -1000 if "train" in path.name else None]
        )
    done = run_here(
        place, "--models", "lenet5", "--epochs", "1", *TRAIN_ONLY, "--data-dir", str(tmp_path)
    )
    assert done.returncode == 2
    assert "train-00000-of-00001.parquet" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.ci
def test_a_run_is_never_written_over(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["--models", "lenet5", "--epochs", "1", *TRAIN_ONLY, "--out", str(run)]
    assert run_here(place, *words).returncode == 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for extra, line in ([], "--resume"), (["--resume", "--epochs", "2"], "--epochs differ"):
        done = run_here(place, *words, *extra)
        assert done.returncode == 2
        assert line in done.stderr
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_plan_runs_nothing(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "plan"
    done = run_here(
        place,
        "--models",
        "lenet5",
        "tv:resnet18",
        "--epochs",
        "3",
        *SMALL,
        "--dry-run",
        "--out",
        str(run),
    )
    assert done.returncode == 0, done.stderr
    assert "2 cells" in done.stdout
    assert not run.exists()


@pytest.mark.slow
def test_a_record_can_be_run_again(place: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    words = [
        *argv_of("--models lenet5 --epochs 1 --label-smoothing 0.1"),
        *TRAIN_ONLY,
        "--out",
        str(first),
    ]
    assert run_here(place, *words).returncode == 0
    path = first / "cells" / "lenet5-s0" / "record.json"
    assert run_here(place, "--like", str(path), "--out", str(second)).returncode == 0
    assert record(first, "lenet5").accuracy == record(second, "lenet5").accuracy
    assert json.loads((second / "config.json").read_text())["label_smoothing"] == 0.1


@pytest.mark.slow
def test_launches_are_measured_in_processes_of_their_own_at_each_models_best_batch(
    place: Path, tmp_path: Path
) -> None:
    run = tmp_path / "launches"
    words = argv_of("--models lenet5 mlp --image-size 32 --epochs 1 --dataset cifar10")
    words += argv_of("--batch-size best --measure train --pairs 7 --launches 2 --num-threads 1")
    done = launch(place, *words, "--out", str(run))
    assert done.returncode == 0, done.stderr
    first, second = (
        read(run / name, Comparison) for name in ("comparison.json", "comparison-l1.json")
    )
    assert (first.launch, second.launch) == (0, 1)
    for model in ("lenet5", "mlp"):
        kept = record(run, model)
        sizes = {row.images for row in first.measurements[model] if row.images}
        assert sizes == {kept.batch_size} == {kept.batch_search["best"]}
        assert first.measurements[model] != second.measurements[model]
    verified = run_command("-m", "bench.verify", str(run))
    assert verified.returncode == 0, verified.stdout
