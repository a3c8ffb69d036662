"""Exported files against the network that they are of.

Oracles: the run's own evaluation, and onnxruntime alone in a process that knows nothing of this
project.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.deploy import checked_export, export, image_check
from bench.deploy.cell_choice import find_cell
from bench.deploy.checked_export import Exporter, ExportError, describe_loss
from bench.deploy.image_check import Agreement, take_squares
from bench.deploy.pipeline import Pipeline
from bench.deploy.predictor import Predictor, open_predictor, softmax
from bench.export import main
from tests.support.trained_run import open_context, write_cell


def test_an_export_answers_as_the_run_did_and_says_so(exported: Any, tiny_data: Any) -> None:
    folder, exporter, lines = exported
    squares = take_squares(tiny_data, tiny_data.test, np.arange(64))
    predictor = open_predictor(run=folder)
    assert predictor.library.startswith("onnxruntime")
    assert predictor.info == exporter.info
    expected = exporter.predictor.score(squares)
    assert predictor.score(squares) == pytest.approx(expected, abs=1e-5)
    said = "\n".join(lines)
    assert "64 test images: predictions agree in 100.00 %" in said
    top1 = f"{exporter.info.top1:.2f} %"
    assert f"top-1 {top1} (the record's: {top1})" in said


def test_onnxruntime_alone_gets_the_records_top1(
    exported: Any, tiny_data: Any, tmp_path: Path
) -> None:
    """Whoever has the file, onnxruntime and numpy needs nothing else."""
    folder, exporter, _ = exported
    squares = take_squares(tiny_data, tiny_data.test, np.arange(64))
    np.savez(tmp_path / "images.npz", pixels=squares, label=tiny_data.test.labels)
    program = (
        "import json, sys, numpy, onnxruntime\n"
        "session = onnxruntime.InferenceSession(sys.argv[1])\n"
        "images = numpy.load('images.npz')\n"
        "chances, _ = session.run(None, {'pixels': images['pixels']})\n"
        "large = session.run(None, {'pixels': numpy.zeros((1, 70, 50, 3), 'uint8')})[0]\n"
        "told = session.get_modelmeta().custom_metadata_map\n"
        "top1 = 100 * (chances.argmax(1) == images['label']).mean()\n"
        "sums = float(abs(chances.sum(1) - 1).max() + abs(large.sum() - 1))\n"
        "print(json.dumps([top1, sums, json.loads(told['class_names']), told['file_top1']]))\n"
        "assert not {'torch', 'bench', 'zoo'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, str(folder / "cells/lenet5-s0/model.onnx")],
        cwd=tmp_path,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    top1, sums, names, told = json.loads(done.stdout)
    assert top1 == pytest.approx(exporter.info.top1)
    assert float(told) == pytest.approx(top1, abs=1e-4)
    assert sums < 1e-5
    assert tuple(names) == tiny_data.class_names


def test_an_export_is_used_without_torch(exported: Any) -> None:
    folder, _, _ = exported
    program = (
        "import sys, numpy, pathlib\n"
        "from bench.deploy.predictor import open_predictor\n"
        f"file = pathlib.Path({str(folder)!r}) / 'cells/lenet5-s0/model.onnx'\n"
        "predictor = open_predictor(onnx=file)\n"
        "predictor.predict([numpy.zeros((40, 30, 3), 'uint8')])\n"
        "assert not {'torch', 'pydantic', 'pandas', 'scipy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_eight_bits_are_kept_with_what_they_cost(exported: Any, tiny_data: Any) -> None:
    folder, exporter, _ = exported
    lines: list[str] = []
    content = (folder / "cells/lenet5-s0/model.onnx").read_bytes()
    exporter.quantise(content, folder / "small.onnx", lines.append)
    small = open_predictor(onnx=folder / "small.onnx")
    squares = take_squares(tiny_data, tiny_data.test, np.arange(64))
    expected = exporter.predictor.score(squares)
    found = small.score(squares)
    assert not np.allclose(found, expected, atol=1e-5)
    assert np.abs(softmax(found) - softmax(expected)).max() < 0.05
    assert (folder / "small.onnx").stat().st_size < 0.5 * (
        folder / "cells/lenet5-s0/model.onnx"
    ).stat().st_size
    assert "by McNemar's test" in lines[-1]


def test_a_loss_of_accuracy_comes_with_a_paired_test() -> None:
    """20 images lost and none won: p = 2 / 2^20."""
    label = np.zeros(100, np.int64)
    lost = np.repeat([1, 0], [20, 80])
    said = describe_loss(Agreement(expected=label, found=lost, label=label, apart=1))
    assert said.startswith("-20.00 points (-28.00 to -12.00), p = 1.9e-06")


@pytest.mark.parametrize("form", ["torchscript", pytest.param("program", marks=pytest.mark.slow)])
def test_torchs_own_formats_answer_alike(form: str, exported: Any) -> None:
    folder, exporter, _ = exported
    path = folder / f"model.{form}"
    lines: list[str] = []
    content = exporter.export(form, path, lines.append)
    assert path.read_bytes() == content
    assert "predictions agree in 100.00 %" in lines[1]
    assert "64 test images enlarged to photographs: predictions agree in 100.00 %" in lines[2]


def test_channels_may_come_first(exported: Any, tiny_data: Any) -> None:
    folder, exporter, _ = exported
    cell = find_cell(folder)
    other = Exporter.open(cell, tiny_data, channels_first=True)
    content = other.export("torchscript", folder / "first.pt", lambda line: None)
    score = export.FORMS["torchscript"].load(content, "NCHW")
    squares = take_squares(tiny_data, tiny_data.test, np.arange(5))
    assert score(squares) == pytest.approx(exporter.predictor.score(squares), abs=1e-5)


def test_an_export_that_answers_otherwise_is_not_kept(
    exported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, exporter, _ = exported
    form = export.FORMS["torchscript"]

    def load_wrong(content: bytes, layout: str) -> Any:
        score = form.load(content, layout)
        return lambda pixels: score(pixels) + 2e-4

    monkeypatch.setitem(checked_export.FORMS, "torchscript", form._replace(load=load_wrong))
    with pytest.raises(ExportError, match="not kept: on 64 test images: predictions agree"):
        exporter.export("torchscript", folder / "wrong.pt", lambda line: None)
    assert not (folder / "wrong.pt").exists()


def test_a_model_that_cannot_be_exported_is_named_with_its_cause(
    exported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(pipeline: Pipeline) -> Any:
        raise NotImplementedError("aten::fft")

    folder, exporter, _ = exported
    form = export.FORMS["torchscript"]
    monkeypatch.setitem(checked_export.FORMS, "torchscript", form._replace(prepare=fail))
    with pytest.raises(ExportError, match=r"^lenet5: TorchScript: NotImplementedError: aten::fft"):
        exporter.export("torchscript", folder / "x.pt", lambda line: None)
    assert not (folder / "x.pt").exists()


def test_interrupting_an_export_keeps_nothing(
    exported: Any, tiny_data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    folder, _, _ = exported
    monkeypatch.setattr(image_check, "open_data_of", lambda record, data_dir: tiny_data)
    monkeypatch.setattr(image_check, "take_squares", interrupt)
    path = tmp_path / "x.pt"
    assert main(["lenet5", "--run", str(folder), "--torchscript", str(path)]) == 130
    assert not path.exists()


def test_wrong_requests_end_with_one_line(
    exported: Any, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _, _ = exported
    (tmp_path / "text.onnx").write_text("not ONNX")
    cases = {
        (str(root / "results/quick"), "--onnx"): "has no weights (a published run leaves them out)",
        (str(folder), "--int8"): "nothing to write",
        (str(folder), "--int8", "--program", "x.pt2"): "--int8: is made of the ONNX file",
        (str(folder), "--onnx", str(tmp_path)): "is a folder; name a file",
        (str(folder), "--onnx", str(tmp_path / "no/x.onnx")): "its folder isn't there",
        (str(tmp_path), "--onnx"): "holds no run",
        (str(folder), "lenet", "--onnx"): "did you mean lenet5?",
    }
    for (run, *words), line in cases.items():
        assert main(["--run", run, *words]) == 2
        said = capsys.readouterr().err
        assert line in said
        assert said.count("\n") == 1
    with pytest.raises(ValueError, match="no ONNX file that can be read"):
        open_predictor(onnx=tmp_path / "text.onnx")


def test_somebody_elses_file_is_refused_with_what_it_lacks(exported: Any, tmp_path: Path) -> None:
    import onnx

    folder, _, _ = exported
    model = onnx.load(folder / "cells/lenet5-s0/model.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    expected = "its metadata lack model, checksum, class_names, transform"
    with pytest.raises(ValueError, match=expected):
        open_predictor(onnx=tmp_path / "other.onnx")
    entry = model.metadata_props.add()
    entry.key, entry.value = "class_names", "[1"
    for key in ("model", "checksum", "transform"):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, "{}"
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match="its metadata can't be read"):
        open_predictor(onnx=tmp_path / "other.onnx")


def test_a_file_whose_metadata_are_anothers_is_refused(exported: Any, tmp_path: Path) -> None:
    import onnx

    folder, _, _ = exported
    path = tmp_path / "other.onnx"
    model = onnx.load(folder / "cells/lenet5-s0/model.onnx")
    told = {entry.key: entry for entry in model.metadata_props}
    kept = told["class_names"].value
    told["class_names"].value = '["cat", "dog"]'
    onnx.save(model, path)
    with pytest.raises(ValueError, match="it gives scores of 10 classes, and names 2"):
        open_predictor(onnx=path)
    told["class_names"].value = kept
    told["transform"].value = told["transform"].value.replace('"side": 32', '"side": 3200000')
    onnx.save(model, path)
    with pytest.raises(ValueError, match=r"a transform to .* 3200000"):
        open_predictor(onnx=path)


def test_a_library_that_is_missing_is_named_with_its_command(
    exported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, _ = exported
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"onnxruntime isn't installed; .* '\.\[onnx\]'"):
        open_predictor(onnx=folder / "cells/lenet5-s0/model.onnx")


def test_an_export_of_other_weights_is_passed_over(
    exported: Any, tiny_data: Any, tmp_path: Path, runtime: Any
) -> None:
    """A run may have been trained again since."""
    folder, _, _ = exported
    context = open_context(tmp_path / "run", tiny_data, runtime)
    write_cell(context, seed=1)
    stale = tmp_path / "run/cells/lenet5-s1/model.onnx"
    stale.write_bytes((folder / "cells/lenet5-s0/model.onnx").read_bytes())
    predictor: Predictor = open_predictor(run=context.folder)
    assert predictor.library.startswith("torch")
    assert predictor.info.seed == 1
