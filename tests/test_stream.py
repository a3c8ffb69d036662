"""Folders that are decoded as training goes.

Oracle: the same folder out of the cache, to the bit.
"""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_folder import SIZE, write_images

from bench.data import folder as folders
from bench.data import folder_build
from bench.data.dataset import Dataset, open_dataset
from bench.data.loader import Batch, Loader, evaluation_batches, open_pixels
from bench.data.pixels import Cut, ModelInput
from bench.data.stream import Stream
from bench.launch.check import check_request, complete
from bench.request.command_line import parse
from bench.results.record import RunRecord
from bench.results.storage import read
from bench.verify import find_faults
from tests.support.image_factory import one_line, use_own_cache
from tests.support.processes import Runs, argv_of

CPU = torch.device("cpu")
OPTIONS: dict[str, Any] = {"channels_last": True, "device": CPU}


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_own_cache(monkeypatch, tmp_path)
    write_images(tmp_path / "set" / "train", {"cat": 20, "ant": 30})
    write_images(tmp_path / "set" / "val", {"cat": 3, "ant": 4}, seed=1)
    return tmp_path / "set"


def opened(place: Path, workers: int | None, **options: Any) -> Dataset:
    return open_dataset("imagefolder", place, image_size=SIZE, workers=workers, **options)


def trained(data: Dataset, augment: tuple[str, ...], start: int = 0) -> list[Batch]:
    loader = Loader(
        data, ModelInput(data.mean, data.std, **OPTIONS), batch_size=8, seed=3, augment=augment
    )
    return list(loader.epoch(1, start=start))


def evaluated(data: Dataset) -> list[Batch]:
    taken = ModelInput(data.mean, data.std, **OPTIONS)
    return list(evaluation_batches(data.test, None, taken, dataset=data, batch_size=3))


def assert_same(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected) > 0
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)
        assert (a.mixed is None) == (b.mixed is None)
        for one, other in zip(a.mixed or (), b.mixed or (), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_batches_of_the_cache(given: Path, workers: int) -> None:
    kept, streamed = opened(given, None), opened(given, workers)
    assert (kept.checksum, kept.mean, kept.std, kept.size) == (
        streamed.checksum,
        streamed.mean,
        streamed.std,
        streamed.size,
    )
    for augment in ((), ("crop", "mirror", "cutmix"), ("resized", "mirror")):
        expected = trained(kept, augment)
        assert_same(trained(streamed, augment), expected)
        assert_same(trained(streamed, augment, start=3), expected[3:])
    assert_same(evaluated(streamed), evaluated(kept))


def test_nothing_is_kept_but_what_the_images_add_up_to(
    given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(given, 2)
    assert not list(given.parent.glob("cache/**/*_images.npy"))
    monkeypatch.setattr(folder_build, "decode_square", pytest.fail)
    assert opened(given, 1).checksum == first.checksum


def test_unreadable_images_are_named_or_left_out_as_from_the_cache(given: Path) -> None:
    (given / "train" / "cat" / "bad.jpg").write_bytes(b"\xff\xd8 no more")
    with pytest.raises(ValueError, match=r"1 of 51 images can't be read: .*bad.jpg"):
        opened(given, 2)
    kept, streamed = (opened(given, workers, skip_unreadable=True) for workers in (None, 2))
    assert (kept.checksum, kept.mean, kept.source) == (
        streamed.checksum,
        streamed.mean,
        streamed.source,
    )
    assert_same(trained(streamed, ("crop",)), trained(kept, ("crop",)))


def test_what_the_cache_can_not_hold_is_named_with_the_way_out(
    given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "LARGEST_CACHE", 1000)
    with pytest.raises(ValueError, match="or decode as it goes by --workers N"):
        opened(given, None)
    assert len(opened(given, 1).train.labels) == 50


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--dataset", "synthetic"], "--workers 2: synthetic is decoded once into the cache"),
        (
            ["--dataset", "imagefolder", "--augment", "pca"],
            "--augment pca --workers: pca needs the colours",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_workers_can_not_do_is_refused(given: Path, words: list[str], line: str) -> None:
    argv = [
        *argv_of("--models lenet5 --workers 2 --data-dir"),
        str(given),
        "--out",
        str(given.parent / "run"),
    ]
    with pytest.raises(ValueError, match=line) as refused:
        check_request(complete(parse([*argv, *words])), world_size=1)
    one_line(refused)


def test_batches_do_not_go_through_shared_memory(given: Path) -> None:
    """A container has 64 MB of it: a worker that finds it full loses its batch without a word."""
    stream = open_pixels(opened(given, 2).train, SIZE, CPU, often=True)
    assert isinstance(stream, Stream)
    rows = np.arange(4)
    cut = Cut(rows, rows * 0, rows * 0, rows > 9)
    assert [batch.is_shared() for batch in stream.take([cut, cut])] == [False, False]


def hang(*_: Any) -> Any:
    time.sleep(1000)


def vanish(*_: Any) -> Any:
    os._exit(9)


@pytest.mark.parametrize(
    ("stuck", "line"),
    [
        pytest.param(
            hang,
            "--workers 2: DataLoader timed out after 1.5 seconds.*raise --timeout",
            marks=pytest.mark.ci,
        ),
        (vanish, "--workers 2: DataLoader worker .* exited unexpectedly"),
    ],
)
def test_a_wait_for_workers_has_an_end(
    given: Path, stuck: Any, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = opened(given, 2, timeout=1.5)
    before = set(multiprocessing.active_children())
    monkeypatch.setattr(folders, "decode_square", stuck)
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=line) as error:
        trained(data, ())
    assert "\n" not in str(error.value)
    assert time.monotonic() - start < 30
    del error
    time.sleep(0.2)
    assert set(multiprocessing.active_children()) <= before


def test_a_file_that_is_gone_meanwhile_is_named(given: Path) -> None:
    data = opened(given, 2)
    for path in (given / "train" / "cat").glob("*.PNG"):
        path.unlink()
    with pytest.raises(ValueError, match=r"PNG: can't be read any more \(.*No such") as error:
        trained(data, ())
    one_line(error)


@pytest.mark.distributed
@pytest.mark.ci
def test_a_run_that_decodes_as_it_goes_is_the_run_from_the_cache_also_resumed(
    given: Path, tmp_path: Path
) -> None:
    """Stopped by a signal, to which workers are deaf; resumed with another number of them."""
    runs = Runs(tmp_path)
    words = [
        *argv_of("--dataset imagefolder --data-dir"),
        str(given),
        *argv_of("--image-size 32 --batch-size 8"),
    ]
    assert runs.run("kept", 1, *words, models=["norm"]) == [0]
    assert runs.run("streamed", 1, *words, "--workers", "1", models=["norm"], STOP_AT="7") == [143]
    assert runs.run("streamed", 1, *words, "--workers", "2", "--resume", models=["norm"]) == [0]
    assert runs.outcome("streamed") == runs.outcome("kept")


@pytest.mark.slow
def test_imagenets_recipe_runs_on_a_small_folder_in_its_layout(given: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = "--recipe imagenet --image-size 64 --batch-size 8 --epochs 3 --workers 2 --measure none"
    # At the recipe's 0.1 five steps of so few images lead anywhere.
    words += " --num-threads 1 --channels-last --lr 0.001"
    command = [sys.executable, "-m", "bench.run", *words.split()]
    done = subprocess.run(
        [*command, "--data-dir", str(given), "--out", str(run)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(find_faults(run)) == []
    (path,) = run.glob("cells/resnet50-s0/record.json")
    found = read(path, RunRecord)
    assert [row.learning_rate for row in found.epochs] == pytest.approx([1e-3, 1e-4, 1e-5])
    assert found.accuracy is not None
    assert (found.accuracy.num_images, found.config["workers"]) == (7, 2)
    assert found.accuracy.num_top5 == 7  # of two classes both are among the five
