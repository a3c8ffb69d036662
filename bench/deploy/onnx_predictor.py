"""An exported ONNX file that answers by onnxruntime. No torch, and none of our records."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.deploy.model_info import ModelInfo, from_metadata
from bench.deploy.predictor import Predictor
from zoo.cause import first_line
from zoo.extra import need

SCORES = "scores"  # an export's second output, beside `probabilities`
TEMPERATURE = "temperature"  # in its metadata, where it is known
CHANNELS_LAST, CHANNELS_FIRST = "NHWC", "NCHW"  # of the pixels that it takes


class OnnxPredictor(Predictor):
    """An exported file; ValueError for one that can't be read, or isn't one of ours."""

    def __init__(self, path: Path, *, num_threads: int | None = None) -> None:
        runtime = need("onnxruntime", "onnx")
        self.session = open_session(path, num_threads)
        metadata = self.session.get_modelmeta().custom_metadata_map
        try:
            self.info = from_metadata(metadata)
            _check_signature(self.session, self.info)
        except ValueError as error:
            raise ValueError(f"--onnx {path}: {error}") from error
        self.library = f"onnxruntime {runtime.__version__}"
        self.layout = metadata.get("layout", CHANNELS_LAST)
        self.temperature = metadata.get(TEMPERATURE)
        self.path = path

    def score(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        return run_session(self.session, squares, self.layout)

    def find_temperature(self) -> float:
        if self.temperature is None:
            raise ValueError(
                f"--calibrate: {self.path} says no temperature, since its run had kept no "
                "validation scores; export it again from a run that has"
            )
        return float(self.temperature)


def _check_signature(session: Any, info: ModelInfo) -> None:
    """Refuse a file that takes or gives something else than its metadata say."""
    taken = [(given.type, len(given.shape)) for given in session.get_inputs()]
    if taken != [("tensor(uint8)", 4)]:
        raise ValueError("it takes something else than pixels (batch, height, width, channels)")
    scores = [given.shape for given in session.get_outputs() if given.name == SCORES]
    if not scores:
        raise ValueError(f"it gives no `{SCORES}`")
    num_classes = scores[0][-1]
    if num_classes != len(info.class_names):
        raise ValueError(
            f"it gives scores of {num_classes} classes, and names {len(info.class_names)}"
        )


def run_session(session: Any, pixels: NDArray[np.uint8], layout: str) -> NDArray[np.float32]:
    """Return the scores (N, classes) of pixels (N, H, W, channels) by an opened export."""
    if layout == CHANNELS_FIRST:
        pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    (scores,) = session.run([SCORES], {session.get_inputs()[0].name: pixels})
    return np.asarray(scores, np.float32)


def read_metadata(path: Path) -> dict[str, str]:
    """Return what a file says of itself."""
    found: dict[str, str] = open_session(path).get_modelmeta().custom_metadata_map
    return found


def open_session(
    source: Path | bytes, num_threads: int | None = None, *, rests: bool = False
) -> Any:
    """Open a file, or its content, by onnxruntime on the CPU; ValueError says why it can't be.

    One that `rests` doesn't keep cores busy between its answers.
    """
    runtime = need("onnxruntime", "onnx")
    if isinstance(source, Path) and not source.is_file():
        raise ValueError(f"--onnx {source}: no such file")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors: its warnings are of its own concerns
    if num_threads is not None:
        options.intra_op_num_threads = num_threads
    if rests:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # Its exceptions have no class in common.
        name = source if isinstance(source, Path) else "the export"
        raise ValueError(
            f"--onnx {name}: no ONNX file that can be read ({first_line(error)})"
        ) from error
