"""launch.sh's set-up and the folders that it is started from.

Oracle: a stand-in for Python that takes its time over each file of .venv and can be interrupted
anywhere; what it installs is whole, or it says so.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import ROOT

# `-m venv DIR` puts Python there first and pip last, as the real one does; `-m pip install` writes
# its files one by one and says when two are at it.
PYTHON = """#!/bin/bash
log={log}
venv=$(dirname "$(dirname "$0")")
while [[ ${1-} == -P || ${1-} == -I ]]; do shift; done
case "$*" in
    "-c "*) exit 0 ;;
    "-m venv "*)
        echo venv >>"$log"
        mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; sleep 0.05
        mkdir "$3/lib"; sleep 0.05
        touch "$3/lib/pip" ;;
    "-m pip --version") [[ -f $venv/lib/pip ]] ;;
    "-m pip install "*)
        [[ -f $venv/lib/pip ]] || { echo "No module named pip" >&2; exit 1; }
        mkdir "$venv/busy" 2>/dev/null || echo "two at once" >>"$log"
        for part in 1 2 3; do sleep 0.05; echo whole >"$venv/lib/$part"; done
        rmdir "$venv/busy" ;;
    "-m bench.launch "*) cat "$venv"/lib/[123] | tr "\\n" " "; echo "ran ${*:3}" ;;
esac
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A copy of launch.sh, and the stand-in for Python on its path."""
    folder = tmp_path / "the project"
    folder.mkdir()
    shutil.copy(ROOT / "launch.sh", folder)
    (folder / "pyproject.toml").touch()
    (folder / "bin").mkdir()
    python = folder / "bin" / "python3"
    python.write_text(PYTHON.replace("{log}", f"'{folder}/log'"))
    python.chmod(0o755)
    return folder


def begin(home: Path, *words: str, **more: str) -> subprocess.Popen[str]:
    """Start launch.sh in a session of its own."""
    environment = os.environ | {"PATH": f"{home}/bin:/usr/bin:/bin"} | more
    return subprocess.Popen(
        [str(home / "launch.sh"), *words],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def is_whole(process: subprocess.Popen[str]) -> bool:
    out, _ = process.communicate(timeout=30)
    return process.returncode == 0 and out == "whole whole whole ran --models lenet5\n"


@pytest.mark.parametrize("everyone", [True, False], ids=["all its processes", "the script alone"])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("seconds", [0.02, 0.06, 0.1, 0.15, 0.2, 0.25, 0.3])
def test_a_start_after_an_interrupted_set_up_works(
    home: Path, seconds: float, signum: int, everyone: bool
) -> None:
    first = begin(home, "--models", "lenet5")
    time.sleep(seconds)
    if everyone:
        os.killpg(first.pid, signum)
    else:
        first.send_signal(signum)
    again = begin(home, "--models", "lenet5")
    assert is_whole(again)
    first.communicate(timeout=30)
    assert "two at once" not in (home / "log").read_text()


def test_of_two_starts_at_once_one_sets_up_and_the_other_waits(home: Path) -> None:
    both = [begin(home, "--models", "lenet5") for _ in range(2)]
    assert all(is_whole(one) for one in both)
    assert (home / "log").read_text() == "venv\n"


def test_a_set_up_that_is_done_is_not_done_again_but_for_another_extra(home: Path) -> None:
    assert is_whole(begin(home, "--models", "lenet5"))
    out, err = begin(home, "--models", "lenet5").communicate(timeout=30)
    assert (out, err) == ("whole whole whole ran --models lenet5\n", "")
    # What 'check' then runs prints nothing here.
    checked = begin(home, "check")
    assert "with the extra 'dev'" in checked.communicate(timeout=30)[1]
    assert (home / "log").read_text() == "venv\n"


def test_a_folder_without_pip_is_named_and_left_alone(home: Path) -> None:
    (home / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(home / "bin" / "python3", home / ".venv" / "bin" / "python")
    process = begin(home, "--models", "lenet5")
    assert ".venv has no pip; remove that folder" in process.communicate(timeout=30)[1]
    assert process.returncode == 2
    assert (home / ".venv" / "bin" / "python").exists()


def test_it_starts_from_any_folder_by_any_name(home: Path, tmp_path: Path) -> None:
    begin(home, "--models", "lenet5").communicate(timeout=30)
    (tmp_path / "elsewhere" / "the project").mkdir(parents=True)
    (tmp_path / "linked.sh").symlink_to(home / "launch.sh")
    for command in ("the project/launch.sh", "./linked.sh"):
        done = subprocess.run(
            ["bash", *command.split("\n"), "--models", "lenet5"],
            cwd=tmp_path,
            env=os.environ | {"CDPATH": str(tmp_path / "elsewhere")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "whole whole whole ran --models lenet5\n", done.stderr


SHADOWS = (
    *("bench", "zoo", "reports", "numpy", "torch", "pandas", "pydantic", "psutil", "random"),
    *("subprocess", "socket", "selectors", "multiprocessing", "tempfile", "jinja2", "plotly"),
)


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("more", [(), ("--pack",)], ids=["one by one", "packed"])
def test_files_of_the_callers_folder_hide_no_module(tmp_path: Path, more: tuple[str, ...]) -> None:
    """In each process of a run: accelerate's, workers, memory, packed cells, reports."""
    from tests.support.processes import argv_of, small_data, variables

    here = tmp_path / "here"
    here.mkdir()
    for name in SHADOWS:
        (here / f"{name}.py").write_text(f"open({str(here / 'imported')!r}, 'a').write({name!r})")
    environment = variables(small_data(tmp_path / "place"), CUDA_VISIBLE_DEVICES="")
    words = argv_of("--models lenet5 mlp --image-size 32 --epochs 1 --batch-size 24")
    words += argv_of("--dataset cifar10 --pairs 2 --out run --measure")
    words += ["none"] if more else argv_of("train memory")
    # Without it the project would have to be installed.
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bench.launch", *words, *more],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (here / "run" / "report.html").exists()
    assert not (here / "imported").exists(), (here / "imported").read_text()
