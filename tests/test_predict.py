"""The command that says what is on pictures.

Oracles: the exported file asked directly, the clock's own module list, and the temperature at which
scipy's own search finds the least loss of draws from a known one.
"""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.deploy.calibration import find_temperature, fit_temperature
from bench.deploy.predictor import Predictor, softmax
from bench.predict import list_pictures, main
from tests.support.trained_run import open_context, write_cell


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_data: Any) -> Path:
    """A run of one cell."""
    from bench.distributed.runtime import Runtime
    from bench.request.command_line import parse

    folder = tmp_path_factory.mktemp("predict") / "run"
    with Runtime.start(parse(["--recipe", "smoke", "--num-threads", "1"])) as runtime:
        write_cell(open_context(folder, tiny_data, runtime))
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three pictures in a folder of folders, and a text file called `.jpg`."""
    draw = np.random.default_rng(1)
    for number, name in enumerate(("a.png", "b/c.jpg", "b/d.webp")):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        shape = (40 + 7 * number, 60, 3)
        Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8)).save(path)
    (tmp_path / "pictures" / "b" / "text.jpg").write_text("not a picture")
    return tmp_path / "pictures"


def test_a_folder_is_answered_and_what_cannot_be_read_is_named(
    run: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(pictures), "--run", str(run), "--csv", "--batch", "2"]) == 1
    said = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert [row["file"] for row in rows[::5]] == [
        str(pictures / name) for name in ("a.png", "b/c.jpg", "b/d.webp")
    ]
    chances = np.array([float(row["probability"]) for row in rows]).reshape(3, 5)
    assert (np.diff(chances, axis=1) <= 0).all()
    assert f"{pictures}/b/text.jpg: can't be read: not a whole picture of PNG" in said.err
    assert "lenet5, seed 0 (run run), by torch" in said.err


def test_json_has_a_line_a_picture(
    run: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(pictures / "a.png"), str(pictures / "b/c.jpg")]
    assert main([*names, "--run", str(run), "--model", "lenet5", "--json", "--top", "10"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["file"] for line in lines] == names
    for line in lines:
        assert sum(each["probability"] for each in line["classes"]) == pytest.approx(1, abs=1e-5)
        assert {each["superclass"] for each in line["classes"]} <= {
            f"superclass {i}" for i in range(5)
        }


def test_a_picture_may_come_from_standard_input(
    run: Path, pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pictures / "a.png"
    main([str(path), "--run", str(run)])
    _, *expected = capsys.readouterr().out.splitlines()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    assert main(["-", "--run", str(run)]) == 0
    name, *found = capsys.readouterr().out.splitlines()
    assert name == "-"
    assert found == expected
    assert len(found) == 5


def test_calibrated_probabilities_are_those_at_the_temperature_of_validation(
    run: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(pictures / "a.png"), "--run", str(run), "--json", "--top", "10"]
    main(words)
    plain = json.loads(capsys.readouterr().out)["classes"]
    main([*words, "--calibrate"])
    said = capsys.readouterr()
    warm = json.loads(said.out)["classes"]
    temperature = fit_temperature(run / "cells" / "lenet5-s0")
    assert f"temperature {temperature:.2f}" in said.err
    logs = np.log([[each["probability"] for each in plain]])
    expected = softmax(logs / temperature)[0]
    assert [each["probability"] for each in warm] == pytest.approx(expected, rel=1e-4)


def test_the_temperature_of_drawn_labels_is_found() -> None:
    """Labels drawn at three times the scores' temperature."""
    draw = np.random.default_rng(0)
    scores = draw.normal(0, 6, (20_000, 8))
    chances = softmax(scores / 3)
    label = (chances.cumsum(axis=1) > draw.random((20_000, 1))).argmax(axis=1)
    log_probabilities = np.log(softmax(scores)).clip(-60)
    assert find_temperature(log_probabilities, label) == pytest.approx(3, rel=0.02)


def test_wrong_requests_end_with_one_line(
    run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    picture = str(pictures / "a.png")
    cases: dict[tuple[str, ...], str] = {
        (picture,): "give either --run RUN (with --model NAME) or --onnx FILE",
        (picture, "--onnx", "no.onnx"): "--onnx no.onnx: no such file",
        (picture, "--onnx", "no.onnx", "--model", "lenet5"): "the file says which model it is",
        (picture, "--run", str(run), "--model", "lenet"): "did you mean lenet5?",
        (str(pictures / "aa.png"), "--run", str(run)): "did you mean a.png?",
        (str(tmp_path / "empty"), "--run", str(run)): "holds no picture (.jpg",
    }
    for words, line in cases.items():
        assert main(words) == 2
        said = capsys.readouterr()
        assert line in said.err
        assert said.err.count("\n") == 1
        assert not said.out
    (run / "cells/lenet5-s0/scores.npz").rename(tmp_path / "kept")
    try:
        assert main([picture, "--run", str(run), "--calibrate"]) == 2
        assert (
            "isn't there, which says what the model said of validation" in capsys.readouterr().err
        )
    finally:
        (tmp_path / "kept").rename(run / "cells/lenet5-s0/scores.npz")


def test_interrupting_is_quiet(run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Predictor, "fit", interrupt)
    assert main([str(pictures / "a.png"), "--run", str(run)]) == 130


def test_help_and_a_wrong_request_import_no_torch(root: Path) -> None:
    program = (
        "import sys\n"
        "from bench.predict import main\n"
        "assert main(['x.png', '--onnx', 'no.onnx']) == 2\n"
        "assert not {'torch', 'pydantic', 'pandas', 'scipy', 'rich'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True, stderr=subprocess.PIPE)


def test_each_picture_is_listed_once(pictures: Path) -> None:
    path = str(pictures / "a.png")
    assert list_pictures([path, str(pictures), path])[0] == path
    assert len(list_pictures([path, str(pictures), path])) == 4
