"""Records, configurations and arrays that somebody has changed: `python -m reports` copes with all.

Nothing is expected of the page but that it is made, and that a file that doesn't hold is named.
"""

import json
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.__main__ import main
from reports.runs import read_source
from tests.support.record_factory import write_demo

# What takes the place of a value, of whatever kind that was.
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**70, 1e308, -1e308, 1e-320, 0.5),
    *("", "x", "\x1b[31m", "\ud800", "9" * 400),
    *([], [[]], [None], [1, 2, 3], ["a", "a"], {}, {"a": 1}),
)
QUICK, LONG = 16, 200


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo(tmp_path_factory.mktemp("doctored") / "demo", seeds=(0, 1))


def change_value(content: Any, draw: random.Random) -> None:
    """Remove, double or replace a value somewhere: each branch is as likely, however large."""
    while True:
        keys = list(content) if isinstance(content, dict) else list(range(len(content)))
        if not keys:
            return
        key = draw.choice(keys)
        inner = content[key]
        if not isinstance(inner, dict | list) or draw.random() < 0.25:
            break
        content = inner
    act = draw.randrange(8)
    if act == 0:
        del content[key]
    elif act == 1 and isinstance(content, list):
        content.append(inner)
    else:
        content[key] = draw.choice(VALUES)


def change_array(path: Path, draw: random.Random) -> None:
    """Give an array another shape, type, range or header, or damage the file."""
    act = draw.choice(("type", "shape", "range", "header", "bytes", "empty"))
    if act == "bytes":
        content = bytearray(path.read_bytes())
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        return
    if act == "header":
        declare_huge(path)
        return
    with np.load(path) as found:
        arrays = dict(found)
    key = draw.choice(sorted(name for name in arrays if arrays[name].dtype.kind in "iuf"))
    array = arrays[key]
    changed = {
        "type": lambda: array.astype(draw.choice(["float16", "complex64", "U3", "bool", "M8[s]"])),
        "shape": lambda: array.reshape(1, -1) if draw.random() < 0.5 else array[:-1],
        "range": lambda: (array.astype("int64") - draw.choice([1, 200, 60_000])).astype("int32"),
        "empty": lambda: array[:0],
    }
    arrays[key] = changed[act]()
    np.savez(path, **arrays)


def declare_huge(path: Path) -> None:
    """Let an array's header say that it has 20 GB."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = "confidence.npy" if "confidence.npy" in members else sorted(members)[0]
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (2500000000,), }"
    header = header.ljust(117) + b"\n"
    members[name] = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)


def doctor(demo: Path, copy: Path, number: int) -> Path:
    """Copy a run with one to three of its files changed, by the number's draw."""
    draw = random.Random(number)
    shutil.copytree(demo, copy)
    files = sorted(path for path in copy.rglob("*") if path.suffix in (".json", ".npz"))
    for _ in range(draw.choice((1, 1, 2, 3))):
        path = draw.choice(files)
        if path.suffix == ".npz":
            change_array(path, draw)
            continue
        content = json.loads(path.read_bytes())
        change_value(content, draw)
        path.write_text(json.dumps(content), encoding="utf-8")
    return copy


def check_reports(demo: Path, folder: Path, number: int) -> None:
    run = doctor(demo, folder / str(number), number)
    try:
        assert main([str(run), "--csv", str(folder / "table.csv")]) in (0, 2)
    finally:
        shutil.rmtree(run)


@pytest.mark.parametrize("number", range(QUICK))
def test_a_doctored_run_makes_a_page(demo: Path, tmp_path: Path, number: int) -> None:
    check_reports(demo, tmp_path, number)


@pytest.mark.ci
@pytest.mark.timeout(600)
def test_hundreds_of_doctored_runs_make_a_page(demo: Path, tmp_path: Path) -> None:
    for number in range(QUICK, LONG):
        check_reports(demo, tmp_path, number)


def test_an_array_that_says_to_be_huge_is_not_allocated(demo: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(demo, tmp_path / "run"))
    cell = next((run / "cells").iterdir())
    declare_huge(cell / "predictions.npz")
    (found,) = [each for _, each in read_source([run]).cells if each.folder == cell]
    assert found.arrays("predictions.npz", ["confidence"]) == {}
    assert found.arrays("predictions.npz", ["label"]) != {}


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("accuracy", "num_images"), 0, "num_images"),
        (("accuracy", "num_top1"), 10**9, "num_top1"),
        (("batch_size",), 2**70, "batch_size"),
        (("epochs", 0, "seconds"), -1.0, "seconds"),
        (("measurements", 0, "values"), [[]], "values"),
        (("data", "superclass_of", 0), 10**6, "superclass"),
    ],
)
def test_a_record_that_does_not_hold_is_a_named_fault(
    demo: Path, tmp_path: Path, place: tuple[Any, ...], value: Any, said: str
) -> None:
    run = Path(shutil.copytree(demo, tmp_path / "run"))
    path = run / "cells" / "lenet5-s0" / "record.json"
    content = inner = json.loads(path.read_bytes())
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(json.dumps(content), encoding="utf-8")
    (fault,) = read_source([run]).faults
    assert fault.path == path
    assert said in fault.reason
