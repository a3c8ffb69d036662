"""`reports.read_frame`. Oracle: the CSV that `python -m reports --csv` writes, read by pandas."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import reports
from reports.__main__ import main
from tests.support.record_factory import ZOO, comparison, failed, record, write_demo, write_run

ROOT = Path(__file__).parent.parent
NOT_FLOATS = {
    "model": "string",
    "created": "string",
    "seed": "Int64",
    "num_parameters": "Int64",
    "infer_best_batch": "Int64",
    "stand_in": "boolean",
    "compile": "boolean",
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo(tmp_path_factory.mktemp("runs") / "demo")


@pytest.mark.parametrize("name", ["demo", "tests/data/run", "tests/data/run2", "results/quick"])
def test_it_holds_what_the_csv_holds(name: str, demo: Path, tmp_path: Path) -> None:
    folder = demo if name == "demo" else ROOT / name
    table, page = tmp_path / "x.csv", tmp_path / "x.html"
    assert main([str(folder), "-o", str(page), "--csv", str(table)]) == 0
    frame = reports.read_frame(folder)
    # The frame's own types, since a CSV has none; an empty field is a missing value in both.
    written = pd.read_csv(table, dtype=dict(frame.dtypes.items()))
    pd.testing.assert_frame_equal(frame.replace("", pd.NA), written, rtol=1e-15)


def test_several_runs_are_one_frame(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name, [record(ZOO[0], seed, run=name) for seed in (0, 1)])
    frame = reports.read_frame(tmp_path / "a", str(tmp_path / "b"))
    assert list(frame["run"]) == ["a", "a", "b", "b"]
    assert list(frame["seed"]) == [0, 1, 0, 1]
    assert reports.read_frame(tmp_path).equals(frame)


def test_types_are_those_of_the_columns_and_not_of_their_values(tmp_path: Path) -> None:
    """A run that measured nothing has the types of one that measured everything."""
    write_run(tmp_path / "a", [record(ZOO[0])], comparison(ZOO[:1]))
    write_run(tmp_path / "b", [failed(ZOO[0])])
    whole, empty = reports.read_frame(tmp_path / "a"), reports.read_frame(tmp_path / "b")
    assert dict(whole.dtypes) == dict(empty.dtypes)
    for column, name in NOT_FLOATS.items():
        assert whole[column].dtype == name
    assert whole["top1"].dtype == whole["peak_memory_bytes"].dtype == "Float64"
    assert empty["top1"].isna().all()


def test_every_typed_column_is_one_of_the_table() -> None:
    typed = [column for columns in reports.TYPES.values() for column in columns]
    assert len(typed) == len(set(typed))
    assert set(typed) < set(reports.COLUMNS)


@pytest.mark.parametrize("folders", [(), ("none",), (".",)])
def test_what_holds_no_record_is_refused(
    folders: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"folder"):
        reports.read_frame(*folders)


def test_importing_it_loads_neither_pandas_nor_torch() -> None:
    code = "import sys, reports; sys.exit('pandas' in sys.modules or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
