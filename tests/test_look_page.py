"""The page's part on the data, its warning, its column, and what verify says of a look.

Oracles: counts of the doubles that the test plants, and numpy's means.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_look import make_set, view

from bench.cell.cell_file import write_run_look
from bench.data.look import look_at_set
from bench.results.look import DOUBLES, FILE, DataLook, Pairs, write_look
from bench.results.prediction_check import double_faults
from bench.results.record import RunRecord
from bench.results.storage import read, write_arrays
from reports.frame import row_of
from reports.look import looks_of
from reports.page import build_page
from reports.runs import read_source
from reports.view import build_view
from tests.support.record_factory import ZOO, accuracy, data_info, predictions, record, write_run

NUM_TEST = 44
LEAKED = 4
KEY = "top1_without_doubles"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Write a run of two models on data of which 4 of 44 test images leak."""
    classes = {"class_names": tuple("abcdefghij"), "superclass_names": (), "superclass_of": ()}
    info = data_info(num_test=NUM_TEST, checksum="ab" * 32, **classes)
    counted = {"data": info, "accuracy": accuracy(30, n=NUM_TEST)}
    records = [record(animal, 0, **counted) for animal in ZOO[:2]]
    folder = write_run(tmp_path / "run", records)
    data = make_set(view(across=1)[:10], view()[6:50])
    look = look_at_set(replace(data, checksum=info.checksum))
    assert look.has_double(NUM_TEST).sum() == LEAKED
    write_run_look(folder, replace(data, look=look))
    for path in folder.glob("cells/*/record.json"):
        said = predictions(read(path, RunRecord))
        marked = look.has_double(NUM_TEST)
        write_arrays(path.parent / "predictions.npz", **said, has_double=marked)
    return folder


def test_top1_without_doubles_is_that_of_the_other_images(run: Path) -> None:
    source = read_source([run])
    for where, cell in source.cells:
        said = cell.answers
        right = (said["label"] == said["predicted"])[~said["has_double"].astype(bool)]
        row = row_of(cell, None, run=where.name)
        assert row[KEY] == pytest.approx(100 * right.mean())
    view_of = build_view(source)
    for entry in view_of.entries:
        number = entry.numbers[KEY]
        assert number.low < number.value < number.high
    assert all(pairs[KEY] for pairs in view_of.pairs)


def test_the_page_says_what_leaks_and_shows_it(run: Path) -> None:
    page = build_page(read_source([run]))
    part = re.search(r'<section id="data".*?</section>', page, re.DOTALL)
    assert part is not None
    assert f"{LEAKED} test images have one in training" in part[0]
    assert part[0].count("data:image/webp;base64,") == LEAKED
    # What the part costs of a page's budget.
    assert len(part[0]) < 8000
    assert f"{LEAKED} of {NUM_TEST} test images (9.1 %) show the same as a training image" in page


def test_looks_of_other_data_and_torn_pictures_are_left_out(run: Path) -> None:
    (run / DOUBLES).write_bytes(b"no archive")
    (found,) = looks_of(read_source([run]))
    assert found.pairs == []
    write_arrays(run / DOUBLES, image=np.zeros((3, 2, 8, 9, 3), np.uint8))
    (found,) = looks_of(read_source([run]))
    assert found.pairs == []
    for content in ("", "[1]", "{" * 99):
        (run / FILE).write_text(content)
        assert looks_of(read_source([run])) == []
        assert "Data</h2>" not in build_page(read_source([run]))


def change(run: Path, **changes: object) -> list[str]:
    """Change the look of a run; return what verify says of its first cell."""
    (where,) = read_source([run]).runs
    look = where.look
    assert isinstance(look, DataLook)
    write_look(run / FILE, replace(look, **changes))
    cell = where.cells[0]
    return list(double_faults(cell.record, cell.folder))


def test_verify_recounts_which_test_images_have_doubles(run: Path) -> None:
    assert change(run) == []
    assert change(run, checksum="other") == [f"{FILE} is of other data"]
    assert change(run, checksum="ab" * 32, across=Pairs()) == [
        f"has_double in predictions.npz is not what {FILE} says"
    ]
    (run / FILE).unlink()
    (cell,) = list(read_source([run]).runs[0].cells[:1])
    (fault,) = double_faults(cell.record, cell.folder)
    assert "can't be read" in fault
