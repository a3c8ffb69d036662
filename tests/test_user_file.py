"""Networks of users' files, whose code does what it likes.

Oracles: Python's own import of each file alone, and the process as it was before.
"""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.cell.open_run import list_cells, list_specs
from bench.request.command_line import parse
from zoo import create_model
from zoo.__main__ import main

LINEAR = (
    "torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, {units}), "
    "torch.nn.Linear({units}, num_classes))"
)
FUNCTION = f"import torch\ndef net(num_classes):\n    return {LINEAR.format(units=4)}\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# Every way in which a file reads a neighbour, of the same name in both folders.
IMPORTS = {
    "import": ("import layers\n", "layers.UNITS"),
    "import_as": ("import layers as l\n", "l.UNITS"),
    "from": ("from layers import UNITS\n", "UNITS"),
    "from_star": ("from layers import *\n", "UNITS"),
    "package": ("import parts.sizes\n", "parts.sizes.UNITS"),
    "package_as": ("import parts.sizes as s\n", "s.UNITS"),
    "from_package": ("from parts import sizes\n", "sizes.UNITS"),
    "relative": ("from . import layers\n", "layers.UNITS"),
    "through": ("import far\n", "far.UNITS"),
}


AT_THE_TOP = [(way, False) for way in IMPORTS]
# Python has no `import *` in a function.
IN_THE_FUNCTION = [(way, True) for way in IMPORTS if way != "from_star"]


@pytest.mark.parametrize(("way", "late"), [*AT_THE_TOP, *IN_THE_FUNCTION])
def test_each_file_sees_its_own_neighbours(way: str, late: bool, tmp_path: Path) -> None:
    statement, units = IMPORTS[way]
    names = []
    for number in (5, 9):
        folder = tmp_path / f"a-{number}"
        write(folder / "layers.py", f"UNITS = {number}\n")
        write(folder / "far.py", "from layers import UNITS\n")
        write(folder / "parts/__init__.py", "")
        write(folder / "parts/sizes.py", "from layers import UNITS\n")
        top, inside = ("", f"    {statement}") if late else (statement, "")
        built = LINEAR.replace("{units}", units)
        write(
            folder / "net.py",
            f"import torch\n{top}def net(num_classes):\n{inside}    return {built}\n",
        )
        names.append(f"{folder}/net.py:net")
    for name, units_of in [*zip(names, (5, 9), strict=True), (names[0], 5)]:
        model: Any = create_model(name, num_classes=3)
        assert model[1].out_features == units_of


def test_folders_that_differ_in_a_sign_alone_are_two(tmp_path: Path) -> None:
    for folder, units in (("m/n", 5), ("m-n", 6), ("m_n", 7)):
        write(tmp_path / folder / "net.py", FUNCTION.replace("4", str(units)))
    for folder, units in (("m/n", 5), ("m-n", 6), ("m_n", 7)):
        model: Any = create_model(f"{tmp_path / folder}/net.py:net")
        assert model[1].out_features == units


def test_neighbours_hide_nobodys_modules(tmp_path: Path) -> None:
    write(tmp_path / "timm.py", "raise RuntimeError('the wrong timm')\n")
    write(tmp_path / "random.py", "raise RuntimeError('the wrong random')\n")
    write(tmp_path / "bench.py", "UNITS = 4\n")
    text = "import random, timm, bench\nfrom dataclasses import dataclass\n" + FUNCTION
    text += "@dataclass\nclass Kept:\n    units: int = bench.UNITS\n"
    path = write(tmp_path / "net.py", text)
    create_model(f"{path}:net")
    import bench

    assert not hasattr(bench, "UNITS")
    (module,) = [one for one in sys.modules.values() if getattr(one, "__file__", "") == str(path)]
    assert pickle.loads(pickle.dumps(module.Kept(3))).units == 3


BAD_FILES = {
    "argparse": (
        "import argparse\np = argparse.ArgumentParser()\n"
        "p.add_argument('--data', required=True)\np.parse_args()\n",
        "SystemExit: 2 (mine.py: error: the following arguments are required: --data)",
    ),
    "exit": ("import sys\nsys.exit('no data here')\n", "SystemExit: no data here"),
    "quit": ("raise SystemExit\n", "SystemExit: "),
    "base": ("class Stop(BaseException): pass\nraise Stop('all')\n", "Stop: all"),
    "value": ("raise ValueError('mine\\nand more')\n", "ValueError: mine"),
    "recursion": ("def f(): f()\nf()\n", "RecursionError: maximum recursion depth exceeded"),
    "syntax": ("def net(:\n", "SyntaxError: "),
    "module": ("import nowhere_to_be\n", "ModuleNotFoundError: No module named 'nowhere_to_be'"),
    "late": ("def net(num_classes):\n    exit(3)\n", "SystemExit: 3"),
    "forward": (
        "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        exit(4)\n"
        "def net(num_classes):\n    return Net()\n",
        "SystemExit: 4",
    ),
    "scores": (
        "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        return {}\n"
        "def net(num_classes):\n    return Net()\n",
        "returns a dict; a model must return",
    ),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_fails_is_a_row_with_its_name_and_the_others_run(
    kind: str, tmp_path: Path, tiny_data: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    text, cause = BAD_FILES[kind]
    path = write(tmp_path / "mine.py", text)
    config = parse(["--models", f"{path}:net", "lenet5", "--epochs", "1"])
    bad, good = list_cells(config, tiny_data)
    assert isinstance(bad.spec, str)
    assert f"{path}" in bad.spec
    assert cause in bad.spec
    assert "\n" not in bad.spec
    assert list(list_specs([bad, good])) == ["lenet5"]
    capsys.readouterr()
    assert main([f"{path}:net"]) == 2
    assert str(path) in capsys.readouterr().err


CHANGES = """
import os, sys, torch
import argparse
options = argparse.ArgumentParser().parse_args()
print("hello from the file")
os.chdir("/")
os.environ["CUDA_VISIBLE_DEVICES"] = "none"
sys.path.insert(0, "/nowhere")
sys.argv.append("--mine")
torch.set_default_dtype(torch.float64)
torch.set_grad_enabled(False)
torch.set_num_threads(3)
torch.set_float32_matmul_precision("medium")
"""


def test_what_a_file_changes_is_set_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "mine.py", CHANGES + FUNCTION)

    def state() -> list[object]:
        process = [Path.cwd(), dict(os.environ), list(sys.argv), sys.path[0]]
        kinds = [torch.get_default_dtype(), torch.get_float32_matmul_precision()]
        return [*process, *kinds, torch.is_grad_enabled(), torch.get_num_threads()]

    before = state()
    assert isinstance(create_model(f"{path}:net"), nn.Module)
    assert state() == before
    said = capsys.readouterr()
    assert said.out == ""
    assert "hello from the file" in said.err


def test_the_file_runs_as_python_runs_it(tmp_path: Path) -> None:
    """The same attributes as by Python's own import, but for the module's name."""
    write(tmp_path / "layers.py", "UNITS = 5\n")
    text = "from __future__ import annotations\n'a text'\nimport layers\nx: int = layers.UNITS\n"
    path = write(
        tmp_path / "mine.py", text + "LINE = __import__('sys')._getframe().f_lineno\n" + FUNCTION
    )
    # A launch before this test may have told Python not to look into the current folder.
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import mine; "
    code += "print(mine.x, mine.LINE, mine.__annotations__)"
    plain = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    create_model(f"{path}:net")
    (mine,) = [one for one in sys.modules.values() if getattr(one, "__file__", "") == str(path)]
    assert f"{mine.x} {mine.LINE} {mine.__annotations__}\n" == plain.stdout
