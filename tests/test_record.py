"""What is written. Oracle: numpy's percentiles.

Merged ranks are images of all / seconds of the slowest.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.results.record import Measurement, RunRecord, cell_name
from bench.results.storage import read, write_bytes, write_json

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
    folder = cell_name(name, 3)
    assert Path(folder).name == folder
    assert len(folder.encode()) < 255
    assert folder.endswith("-s3")


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
