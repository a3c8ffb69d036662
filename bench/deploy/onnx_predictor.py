"""An exported ONNX file that answers by onnxruntime. No torch, and none of our records."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.deploy.extra import need
from bench.deploy.model_info import from_metadata
from bench.deploy.predictor import Predictor
from zoo.cause import first_line

SCORES = "scores"  # an export's second output, beside `probabilities`
CHANNELS_LAST, CHANNELS_FIRST = "NHWC", "NCHW"  # of the pixels that it takes


class OnnxPredictor(Predictor):
    """An exported file; ValueError for one that can't be read, or isn't one of ours."""

    def __init__(self, path: Path, *, num_threads: int | None = None) -> None:
        runtime = need("onnxruntime", "onnx")
        self.session = open_session(path, num_threads)
        metadata = self.session.get_modelmeta().custom_metadata_map
        try:
            self.info = from_metadata(metadata)
        except ValueError as error:
            raise ValueError(f"--onnx {path}: {error}") from error
        self.library = f"onnxruntime {runtime.__version__}"
        self.layout = metadata.get("layout", CHANNELS_LAST)

    def score(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self.layout == CHANNELS_FIRST:
            squares = np.ascontiguousarray(squares.transpose(0, 3, 1, 2))
        (scores,) = self.session.run([SCORES], {self.session.get_inputs()[0].name: squares})
        return np.asarray(scores, np.float32)


def open_session(path: Path, num_threads: int | None = None) -> Any:
    """Open a file by onnxruntime on the CPU; ValueError says why it can't be."""
    runtime = need("onnxruntime", "onnx")
    if not path.is_file():
        raise ValueError(f"--onnx {path}: no such file")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors: its warnings are of its own concerns
    if num_threads is not None:
        options.intra_op_num_threads = num_threads
    try:
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # Its exceptions have no class in common.
        raise ValueError(
            f"--onnx {path}: no ONNX file that can be read ({first_line(error)})"
        ) from error
