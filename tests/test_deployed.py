"""An exported file opened by every library that is here.

Oracle: the file itself, asked by onnxruntime.
"""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from bench.measure import deployed
from bench.measure.deployed import Artefact
from bench.results.way import CORES, LOADS, Way
from tests.support.trained_run import open_context
from zoo.registry import resolve


def test_a_file_is_timed_in_every_way_that_answers_as_it_does(
    exported: Any, tiny_data: Any, runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, exporter, _ = exported
    content = (folder / "cells/lenet5-s0/model.onnx").read_bytes()

    def open_broken(artefact: Artefact, num_threads: int) -> Any:
        raise RuntimeError("no compiler\nand more")

    def open_wrong(artefact: Artefact, num_threads: int) -> Any:
        ask = deployed.open_onnxruntime(artefact, num_threads)
        return lambda pixels: np.roll(ask(pixels), 1, axis=1)

    monkeypatch.setitem(deployed.OPENERS, "compiled", open_broken)
    monkeypatch.setitem(deployed.OPENERS, "openvino", open_wrong)
    monkeypatch.setattr(deployed, "BATCHES", (1, 3))
    monkeypatch.setattr(runtime, "num_threads", 2)
    context = open_context(folder, tiny_data, runtime)
    opened = deployed.open_deployed(Artefact(content, exporter.pipeline, 12.5), context)
    assert opened.missing["torch.compile"] == "RuntimeError: no compiler"
    assert opened.missing["OpenVINO"].startswith("answers otherwise: probabilities are ")
    ways = [Way(name, cores) for cores in CORES for name in ("torch", "onnxruntime")]
    assert list(opened.asks) == ways
    found: Mapping[str, float] = deployed.time_deployed(opened, random.Random(0), runtime)()
    assert set(found) == {way.metric(load) for way in ways for load in LOADS}
    assert min(found.values()) > 0
    assert opened.facts["deploy_top1"] == 12.5
    assert opened.facts["deploy_file_bytes"] == len(content)
    assert opened.facts["deploy_torch_batch"] in (1, 3)


def test_the_kept_export_is_timed_with_its_own_accuracy(
    exported: Any, tiny_data: Any, runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, exporter, _ = exported
    monkeypatch.setattr(deployed.Exporter, "export", pytest.fail)
    context = open_context(folder, tiny_data, runtime)
    artefact = deployed.find_artefact(resolve("lenet5"), context)
    assert artefact.content == (folder / "cells/lenet5-s0/model.onnx").read_bytes()
    assert artefact.top1 == pytest.approx(exporter.info.top1, abs=1e-4)
    assert deployed.make_transform(resolve("lenet5"), context) == exporter.info.transform
