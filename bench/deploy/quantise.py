"""An exported ONNX file in 8-bit integers, by onnxruntime's static quantisation."""

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data.dataset import Dataset
from bench.deploy.image_check import take_squares
from zoo.extra import need

NUM_IMAGES = 256  # of the training set, by which the ranges of activations are found
BATCH = 32
QUANTISATION = f"8-bit integers, ranges of {NUM_IMAGES} training images"
QUANTISED = ("Conv", "Gemm", "MatMul")  # where nearly all of the time goes


def quantise(content: bytes, data: Dataset, *, channels_first: bool) -> bytes:
    """Return an ONNX file with weights and activations of 8 bits.

    Ranges are those of training images. Weights have 7 bits, since processors without VNNI would
    overflow in sums of 8-bit products.
    """
    for library in ("onnx", "onnxruntime"):
        need(library, "onnx")
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = ("whole.onnx", "prepared.onnx", "int8.onnx")
        whole, prepared, target = (Path(folder) / name for name in names)
        whole.write_bytes(content)
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            target,
            _Reader(_list_batches(data, channels_first)),
            per_channel=True,
            reduce_range=True,
            op_types_to_quantize=list(QUANTISED),
        )
        return target.read_bytes()


class _Reader:
    """Hands batches of pixels over, as onnxruntime asks for them."""

    def __init__(self, batches: Iterator[NDArray[np.uint8]]) -> None:
        self.batches = batches

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        pixels = next(self.batches, None)
        return None if pixels is None else {"pixels": pixels}


def _list_batches(data: Dataset, channels_first: bool) -> Iterator[NDArray[np.uint8]]:
    places = np.linspace(0, len(data.train_indices) - 1, NUM_IMAGES).astype(np.int64)
    rows = np.unique(data.train_indices[places])
    for start in range(0, len(rows), BATCH):
        squares = take_squares(data, data.train, rows[start : start + BATCH])
        yield squares.transpose(0, 3, 1, 2).copy() if channels_first else squares
