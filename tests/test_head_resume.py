"""A head that is interrupted, on several ranks, beside other cells, or in bf16.

Oracle: the run that nothing happened to.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bench.results.record import RunRecord
from bench.results.storage import read, read_run
from bench.run import main
from bench.train import feature, head_method
from bench.train.trainer import Learner
from bench.verify import find_faults
from tests.support.feature_request import feature_words
from tests.support.processes import Runs, argv_of
from zoo import create_model

STOPPED = 128 + signal.SIGTERM


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A request for both stages on a LeNet-5's features, on a small CIFAR-10."""
    return [*feature_words(tmp_path, monkeypatch), "--epochs", "2"]


def once_signalled(call: Callable[..., Any], *, at: int) -> Callable[..., Any]:
    """Return the function; its call number `at` is stopped as by `kill`."""
    calls = 0

    def signalled(*given: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return call(*given, **more)

    return signalled


@pytest.mark.parametrize(
    ("place", "name", "at", "stages"),
    [
        (feature, "evaluation_batches", 1, 0),
        pytest.param(head_method, "choose_classifier", 1, 0, marks=pytest.mark.slow),
        (Learner, "step", 30, 2),
    ],
    ids=["features", "fit", "steps"],
)
def test_both_stages_go_on_where_they_were_killed(
    place: Any,
    name: str,
    at: int,
    stages: int,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = [*words, "--train", "head+all", "--out"]
    with monkeypatch.context() as patch:
        patch.setattr(place, name, once_signalled(getattr(place, name), at=at))
        assert main([*asked, str(tmp_path / "killed")]) == STOPPED
    cell = tmp_path / "killed" / "cells" / "lenet5-s0"
    assert len(read(cell / "record.json", RunRecord).stages) == stages
    assert main([*asked, str(tmp_path / "killed"), "--resume"]) == 0
    assert main([*asked, str(tmp_path / "whole")]) == 0
    assert list(find_faults(tmp_path / "killed")) == []
    killed, whole = (read_run(tmp_path / run)[0][0] for run in ("killed", "whole"))
    assert killed.checksums["predictions.npz"] == whole.checksums["predictions.npz"]
    assert [stage.found["strength"] for stage in killed.stages[1:]] == [
        stage.found["strength"] for stage in whole.stages[1:]
    ]
    ours, theirs = (
        load_file(tmp_path / run / "cells" / "lenet5-s0" / "model.safetensors")
        for run in ("killed", "whole")
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_cells_side_by_side_compute_features_once(words: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    asked = [*words, *argv_of("--train head --folds 4 --pack --pack-size 2")]
    assert main([*asked, "--out", str(run)]) == 0
    records, _ = read_run(run)
    assert sorted(record.stages[0].found["kept"] for record in records) == [
        False,
        True,
        True,
        True,
    ]
    assert list(find_faults(run)) == []


@pytest.mark.ci
def test_two_ranks_fit_the_head_of_one_and_bf16_has_features_of_its_own(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    weights = tmp_path / "lenet5.pth"
    torch.manual_seed(5)
    torch.save(create_model("lenet5", num_classes=7).state_dict(), weights)
    asked = ["--train", "head", "--pretrained", str(weights)]
    half = ("--precision", "bf16", "--allow-emulated")
    for name, size, more in (("one", 1, ()), ("two", 2, ()), ("bf16", 1, half)):
        assert set(runs.run(name, size, *asked, *more, models=["lenet5"])) == {0}
    one, two, rounded = (runs.records(name)["lenet5 0"] for name in ("one", "two", "bf16"))
    assert (one.world_size, two.world_size) == (1, 2)
    assert one.accuracy is not None
    assert two.accuracy is not None
    assert two.accuracy.num_top1 == one.accuracy.num_top1
    assert two.stages[1].found["strength"] == one.stages[1].found["strength"]
    assert rounded.status == "ok"
    assert rounded.stages[0].found["kept"] is False
    assert list(find_faults(tmp_path / "bf16")) == []
