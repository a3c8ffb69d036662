"""Which way runs an exported model fastest, its chart, and the commands that use a model.

Oracle: simulated rounds whose truth is known.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.results.fastest import find_fastest
from bench.results.record import Comparison, Measurement, make_measurement
from bench.results.way import WAYS, Way
from reports.__main__ import main
from reports.chart.deploy import describe_fastest, draw_deploy
from reports.choice_text import Question
from reports.frame import row_of
from reports.runs import Cell, read_source
from reports.usage import find_usage
from reports.view import build_view
from tests.support.record_factory import ZOO, comparison, record, write_run

ONNX, TORCH, OPENVINO = (Way(name, "all cores") for name in ("onnxruntime", "torch", "openvino"))
TRUTH = {ONNX: 5.0, OPENVINO: 5.005, TORCH: 10.0}  # milliseconds


def simulate(num_rounds: int = 40, spread: float = 0.01) -> dict[str, Measurement]:
    """Rounds in which the machine drifts by half, and each way scatters by itself."""
    draw = np.random.default_rng(0)
    drift = np.linspace(1, 1.5, num_rounds)
    rows = {}
    for way, truth in TRUTH.items():
        for load, scale in (("latency", 1.0), ("batched", 0.5)):
            values = truth * scale * drift * np.exp(draw.normal(0, spread, num_rounds))
            name = way.metric(load)  # type: ignore[arg-type]
            rows[name] = make_measurement(name, [values.tolist()], part="deploy")
    return rows


def test_the_fastest_way_is_found_with_those_that_may_be_as_fast() -> None:
    found = find_fastest(simulate(), "latency")
    assert found is not None
    assert {found.way, *found.rivals} == {ONNX, OPENVINO}
    assert found.ratio is not None
    assert found.ratio.low < 2 < found.ratio.high
    assert found.ratio.high / found.ratio.low < 1.03  # the drift is in both of each round
    text = describe_fastest(found)
    assert text.endswith(" all cores may be as fast")


def test_of_few_rounds_nothing_is_proven() -> None:
    found = find_fastest(simulate(num_rounds=3), "latency")
    assert found is not None
    assert len(found.rivals) == 2
    assert describe_fastest(found).startswith("no way is proven fastest; least took ")
    assert find_fastest({}, "latency") is None


def make_comparison() -> Comparison:
    rows = tuple(simulate().values())
    made = comparison(ZOO[:1])
    own = {ZOO[0].name: (*made.measurements[ZOO[0].name], *rows)}
    return replace(made, measurements=own, order=made.order | {"deploy": ((ZOO[0].name,),) * 40})


def test_the_table_has_the_fastest_way_and_every_way(tmp_path: Path) -> None:
    row = row_of(Cell(record(ZOO[0]), tmp_path), make_comparison(), run="demo")
    assert row["deploy_ms"] == pytest.approx(6.25, rel=0.02)
    assert row["deploy_images_per_second"] == pytest.approx(1000 / 3.125, rel=0.02)
    assert row["deploy_torch_ms"] == pytest.approx(12.5, rel=0.02)
    assert row["deploy_compiled_ms"] is None
    assert len(WAYS) == 8


def test_the_chart_has_a_tab_a_load_and_says_which_way_is_fastest(tmp_path: Path) -> None:
    write_run(tmp_path / "demo", [record(ZOO[0])], make_comparison())
    source = read_source([tmp_path / "demo"])
    figures = draw_deploy(build_view(source))
    assert [figure.tab for figure in figures] == ["One image, all cores", "Batches, all cores"]
    assert "times as fast as torch" in figures[0].caption
    names = [trace["name"] for trace in figures[0].traces if trace["x"]]
    assert names == ["torch", "onnxruntime", "OpenVINO"]


def test_the_terminal_says_which_way_is_fastest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", [record()], make_comparison())
    assert main([str(run), "-o", str(tmp_path / "page.html")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "lenet5, one image: OpenVINO, all cores, 6.2" in said
    assert "times as fast as torch" in said


def test_a_run_with_weights_names_the_commands_for_the_model_to_take(tmp_path: Path) -> None:
    folder = tmp_path / "my run"
    write_run(folder, [record(animal) for animal in ZOO])
    source, question = read_source([folder]), Question()
    assert find_usage(source, question) is None
    for path in (folder / "cells").iterdir():
        (path / "model.safetensors").touch()
    best = max(ZOO, key=lambda animal: animal.top1)
    private = find_usage(source, question, private=True)
    public = find_usage(source, question)
    assert private is not None
    assert public is not None
    assert private.model == best.name
    assert f"--run '{folder}' --model {best.name}" in private.commands[0]
    assert str(tmp_path) not in "".join(public.commands)
    # Asked for something else it is another model, as in the words above them.
    smallest = min(ZOO, key=lambda animal: record(animal).num_parameters)
    few = find_usage(source, Question(preferred="num_parameters"))
    assert few is not None
    assert few.model == smallest.name != best.name
    assert "bench.export" in public.commands[1]
