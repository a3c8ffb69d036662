"""What is written. Oracle: numpy's percentiles.

Merged ranks are images of all / seconds of the slowest.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.results.record import CellKey, Measurement, RunRecord
from bench.results.storage import (
    cell_folder,
    read,
    write,
    write_bytes,
    write_json,
)
from bench.results.weights_file import find_weights
from tests.support.record_factory import ZOO, record

OLD_RECORD = Path(__file__).parent / "data" / "run" / "cells" / "lenet5-s0" / "record.json"


def measurement(
    values: list[list[float]], *, images: int | None = None, merge: str = "slowest"
) -> Measurement:
    return Measurement(
        metric="x",
        unit="s",
        better="lower",
        merge=merge,
        values=tuple(map(tuple, values)),
        images=images,  # type: ignore[arg-type]
    )


def test_a_world_is_as_fast_as_its_slowest_rank_and_not_as_the_mean() -> None:
    even, slowed = (
        measurement([[1.0] * 3, [1.0] * 3], images=256),
        measurement([[1.0] * 3, [2.0] * 3], images=256),
    )
    assert even.value == 256
    assert slowed.value == 128


def test_ranks_are_merged_as_the_measurement_says() -> None:
    values = [[1.0, 5.0, 3.0], [2.0, 4.0, 6.0]]
    assert measurement(values).merged == (2.0, 5.0, 6.0)
    assert measurement(values, merge="largest").merged == (2.0, 5.0, 6.0)
    assert measurement(values, merge="sum").merged == (3.0, 9.0, 9.0)


@given(
    st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=50),
    st.sampled_from([1, 5, 25, 50, 90, 95, 99, 99.9, 100]),
)
def test_percentiles_are_numpys(values: list[float], percent: float) -> None:
    expected = np.percentile(values, percent, method="inverted_cdf")
    assert measurement([values]).percentile(percent) == pytest.approx(expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_cannot_be_kept(bad: float) -> None:
    with pytest.raises(ValidationError):
        measurement([[bad]])


def test_a_machine_that_nobody_disturbed_is_not_one_that_nobody_watched(tmp_path: Path) -> None:
    for taken in (None, 0.0, 0.25):
        (row, *others) = record(ZOO[0]).epochs
        written = replace(record(ZOO[0]), epochs=(replace(row, taken_cores=taken), *others))
        write(tmp_path / "record.json", written)
        assert read(tmp_path / "record.json", RunRecord) == written


def test_a_file_is_the_old_one_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_bytes(path, b"half")
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    "name", ["tv:resnet18", "a/b.py:f", "../../x", "é" * 300, "</script>", "=1+1"]
)
def test_a_cells_folder_is_one_folder_whatever_the_model_is_called(name: str) -> None:
    folder = CellKey(name, 3).name
    assert Path(folder).name == folder
    assert len(folder.encode()) < 255
    assert folder.endswith("-s3")


LONG = "x" * 120
CLOSE = st.text(alphabet="ab/:-.~_ é", min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("m/n.py:f", "m-n.py:f"),
        ("m-n.py-f", "m-n.py:f"),
        (f"a{LONG}", f"b{LONG}"),
        (f"a/{LONG}", f"a:{LONG}"),
        (LONG, LONG[:100]),
    ],
)
def test_no_two_models_have_one_folder(one: str, other: str) -> None:
    assert CellKey(one, 0).name != CellKey(other, 0).name


@given(CLOSE, CLOSE, st.integers(0, 20), st.integers(0, 20))
def test_a_folder_is_of_one_model_and_seed(one: str, other: str, first: int, second: int) -> None:
    alike = CellKey(one, first).name == CellKey(other, second).name
    assert alike == ((one, first) == (other, second))


@pytest.mark.parametrize("name", ["lenet5", "vgg16_bn", "shufflenet_v2_x1_0"])
def test_a_name_that_can_stand_there_is_its_folders(name: str) -> None:
    assert CellKey(name, 1).name == f"{name}-s1"


def test_a_cell_that_was_begun_under_a_name_of_old_stays_there(tmp_path: Path) -> None:
    begun = replace(read(OLD_RECORD, RunRecord), model="m/n.py:f")
    folder = tmp_path / "cells" / "m-n.py-f-s0"
    write(folder / "record.json", begun)
    assert cell_folder(tmp_path, CellKey("m/n.py:f", 0)) == folder
    # The other model of that folder's name has one of its own, and so has another seed.
    for model, seed in (("m-n.py:f", 0), ("m/n.py:f", 1)):
        key = CellKey(model, seed)
        assert cell_folder(tmp_path, key) == tmp_path / "cells" / key.name
    (folder / "model.safetensors").touch()
    assert find_weights(tmp_path, "m/n.py:f", 0) == folder / "model.safetensors"
    with pytest.raises(ValueError, match=r"no weights of m-n\.py:f"):
        find_weights(tmp_path, "m-n.py:f", 0)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"colour": "red"}, "colour"),
        ({"multiply_adds": "many"}, "multiply_adds"),
        ({"name": None}, "name"),
    ],
)
def test_a_layer_is_checked_as_strictly_as_its_record(
    change: dict[str, object], fault: str, tmp_path: Path
) -> None:
    written = json.loads(OLD_RECORD.read_text())
    written["layers"][0].update(change)
    path = tmp_path / "record.json"
    path.write_text(json.dumps(written))
    with pytest.raises(ValueError, match=fault):
        read(path, RunRecord)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"schema": 1}', '{"schema": 99}', '{"schema": "one"}']
)
def test_what_is_no_record_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"record\.json") as refused:
        read(path, RunRecord)
    assert "\n" not in str(refused.value)
