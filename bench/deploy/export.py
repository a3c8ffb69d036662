"""A pipeline written as one file that other programs load: ONNX, TorchScript, torch.export."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.export import Dim, ExportedProgram

from bench.deploy.image_check import Score
from bench.deploy.onnx_predictor import (
    CHANNELS_FIRST,
    CHANNELS_LAST,
    SCORES,
    open_session,
    run_session,
)
from bench.deploy.pipeline import Pipeline
from zoo.extra import need

OPSET = 18  # of ONNX: the oldest one that torch's exporter writes without converting
INPUT, PROBABILITIES = "pixels", "probabilities"
METADATA_FILE = "metadata.json"  # within torch's own formats
EXAMPLE_SIZES = (1.5, 2.0)  # times the short side: of no special shape

Write = Callable[[Mapping[str, str]], bytes]  # with these metadata


class Form(NamedTuple):
    """A kind of file: how a pipeline is made ready to be written, and how its file is asked."""

    title: str
    prepare: Callable[[Pipeline], Write]
    load: Callable[[bytes, str], Score]  # the second is the layout of the pixels


def layout_of(pipeline: Pipeline) -> str:
    """Return how the pixels lie that a pipeline takes."""
    return CHANNELS_FIRST if pipeline.channels_first else CHANNELS_LAST


def make_example(pipeline: Pipeline) -> Tensor:
    """Return noise to trace a pipeline with: two pictures that are neither square nor small."""
    height, width = (int(factor * pipeline.short_side) for factor in EXAMPLE_SIZES)
    shape = (2, pipeline.pixel_channels, height, width)
    noise = torch.randint(0, 256, shape, dtype=torch.uint8)
    return noise if pipeline.channels_first else noise.permute(0, 2, 3, 1).contiguous()


def export_program(pipeline: Pipeline) -> ExportedProgram:
    """Export a pipeline by torch.export, for any number of pictures of any size."""
    first = 2 if pipeline.channels_first else 1
    shape = {0: Dim("batch"), first: Dim("height"), first + 1: Dim("width")}
    with _quiet_torch():
        return torch.export.export(pipeline, (make_example(pipeline),), dynamic_shapes=(shape,))


def prepare_program(pipeline: Pipeline) -> Write:
    """Export a pipeline by torch.export."""
    return partial(_write_program, export_program(pipeline))


def _write_program(program: ExportedProgram, metadata: Mapping[str, str]) -> bytes:
    content = io.BytesIO()
    with _quiet_torch():
        torch.export.save(program, content, extra_files={METADATA_FILE: json.dumps(dict(metadata))})
    return content.getvalue()


def _load_program(content: bytes, layout: str) -> Score:
    with _quiet_torch():
        return _make_scorer(torch.export.load(io.BytesIO(content)).module(), layout)


def prepare_torchscript(pipeline: Pipeline) -> Write:
    """Trace a pipeline by TorchScript."""
    with _quiet_torch(), torch.no_grad():
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            pipeline, make_example(pipeline), check_trace=False
        )
    return partial(_write_torchscript, traced)


def _write_torchscript(traced: Any, metadata: Mapping[str, str]) -> bytes:
    content = io.BytesIO()
    with _quiet_torch():
        torch.jit.save(traced, content, {METADATA_FILE: json.dumps(dict(metadata))})
    return content.getvalue()


def _load_torchscript(content: bytes, layout: str) -> Score:
    with _quiet_torch():
        traced = torch.jit.load(io.BytesIO(content))  # type: ignore[no-untyped-call]
    return _make_scorer(traced, layout)


def _make_scorer(module: Callable[[Tensor], tuple[Tensor, Tensor]], layout: str) -> Score:
    def score(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        given = torch.from_numpy(pixels)
        if layout == CHANNELS_FIRST:
            given = given.permute(0, 3, 1, 2).contiguous()
        with torch.no_grad():
            _, scores = module(given)
        return scores.float().numpy()

    return score


def prepare_onnx(pipeline: Pipeline) -> Write:
    """Convert a pipeline to ONNX; ValueError where a library for it isn't installed."""
    for library in ("onnx", "onnxscript"):
        need(library, "onnx")
    program = export_program(pipeline)
    with _quiet_torch():
        converted = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[PROBABILITIES, SCORES],
            verbose=False,
        )
    assert converted is not None, "dynamo=True returns the program"
    model = converted.model_proto
    _name_axes(model)
    return partial(_write_onnx, model)


def _write_onnx(model: Any, metadata: Mapping[str, str]) -> bytes:
    onnx = need("onnx", "onnx")
    onnx.helper.set_model_props(model, dict(metadata))
    content: bytes = model.SerializeToString()
    return content


def name_metadata(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return an ONNX file with other metadata."""
    return _write_onnx(need("onnx", "onnx").load_from_string(content), metadata)


def _name_axes(model: Any) -> None:
    """Name the axes of any length: those that torch names are numbered."""
    names = ("batch", "height", "width")
    pixels = model.graph.input[0].type.tensor_type.shape.dim
    given = [dim for dim in pixels if dim.dim_param]
    renamed = {dim.dim_param: name for dim, name in zip(given, names, strict=True)}
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in renamed:
                dim.dim_param = renamed[dim.dim_param]


@contextmanager
def _quiet_torch() -> Iterator[None]:
    """Leave out what torch says of its own concerns: old formats, names of sizes."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def load_onnx(content: bytes, layout: str) -> Score:
    """Open the content of an ONNX file by onnxruntime."""
    session = open_session(content)
    return lambda pixels: run_session(session, pixels, layout)


FORMS = {
    "onnx": Form(f"ONNX of opset {OPSET}", prepare_onnx, load_onnx),
    "torchscript": Form("TorchScript", prepare_torchscript, _load_torchscript),
    "program": Form("torch.export", prepare_program, _load_program),
}
