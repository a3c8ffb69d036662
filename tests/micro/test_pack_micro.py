"""Four seeds of LeNet-5, packed a cell a core, beside one after another with all cores.

./launch.sh micro tests/micro/test_pack_micro.py     (aim: 0.8 of the time on 2 cores)
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import argv_of

pytestmark = pytest.mark.micro

EPOCHS = 4
ROOT = Path(__file__).parent.parent.parent
DATASET = "cifar100" if os.environ.get("ZOOMETRY_DATA") else "synthetic"


@pytest.mark.parametrize("words", [["--pack"], []], ids=["packed", "one after another"])
def test_four_seeds(benchmark: Any, tmp_path: Path, words: list[str]) -> None:
    benchmark.group = f"lenet5, 4 seeds, {EPOCHS} epochs of {DATASET}, the whole command"
    out = tmp_path / "run"
    asked = [
        *argv_of("--models lenet5 --seeds 0 1 2 3 --epochs"),
        str(EPOCHS),
        "--dataset",
        DATASET,
    ]

    def run() -> None:
        shutil.rmtree(out, ignore_errors=True)
        subprocess.run(
            [
                sys.executable,
                "-m",
                "bench.run",
                *asked,
                "--measure",
                "none",
                *words,
                "--out",
                str(out),
            ],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )

    benchmark.pedantic(run, rounds=2, warmup_rounds=0)
    shutil.rmtree(out)
