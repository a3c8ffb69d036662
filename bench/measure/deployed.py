"""A model's exported file, opened by every library that is here, to be timed in turn.

Each library is asked for one image, and for the batch in which an image takes it the least time, on
one core and on all that the run has: from stored pixels to probabilities. All of them read the one
file, or the weights that it was made of, and are timed only where they answer as the file does.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bench.deploy.cell_choice import EXPORT, WEIGHTS, find_cell
from bench.deploy.checked_export import Exporter, ExportError
from bench.deploy.export import PROBABILITIES, prepare_onnx
from bench.deploy.image_check import find_photographs, take_squares
from bench.deploy.model_info import Transform
from bench.deploy.onnx_predictor import open_session, read_metadata
from bench.deploy.pipeline import Pipeline
from bench.distributed.runtime import Runtime
from bench.results.storage import cell_folder
from bench.results.way import LIBRARIES, WAYS, Library, Way
from bench.train.build import RunContext, build_model, compile_model, make_model_input
from bench.train.step import time_action
from zoo.cause import cause_of
from zoo.extra import need
from zoo.spec import ModelSpec

Pixels = NDArray[np.uint8]
Ask = Callable[[Pixels], NDArray[np.float32]]  # to probabilities

BATCHES = (1, 8, 32)  # the best of which is each library's batch
MOST_APART = 0.01  # of the probabilities of a library's and the file's own answers
LONG_SECONDS = 0.1  # beside which cold caches are nothing


class Artefact(NamedTuple):
    """An exported file, the pipeline that it was made of, and its accuracy if it was trained."""

    content: bytes
    pipeline: Pipeline
    top1: float | None


@dataclass
class Deployed:
    """A file in every way that works here, with the images that it is asked about."""

    artefact: Artefact
    squares: Pixels
    asks: dict[Way, Ask] = field(default_factory=dict)
    batches: dict[Library, int] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)  # by the library's title

    @property
    def facts(self) -> dict[str, float]:
        """Return what is known of the file itself, by metric."""
        found = {"deploy_file_bytes": float(len(self.artefact.content))}
        if self.artefact.top1 is not None:
            found["deploy_top1"] = self.artefact.top1
        return found | {f"deploy_{name}_batch": float(n) for name, n in self.batches.items()}


def deploy_model(spec: ModelSpec, context: RunContext, twin: Deployed | None) -> Deployed | str:
    """Open a model's exported file in every way, or say why it can't be had.

    `twin` is the same model's, where it is opened a second time.
    """
    runtime = context.runtime
    if runtime.world_size > 1 or runtime.device.type != "cpu":
        return "is measured by one process on a CPU"
    runtime.say(f"{spec.name}: opening its exported file in every way")
    try:
        artefact = twin.artefact if twin else find_artefact(spec, context)
    except (ValueError, ExportError) as error:
        return str(error)
    return open_deployed(artefact, context)


def find_artefact(spec: ModelSpec, context: RunContext) -> Artefact:
    """Find a model's exported file, or make it: of the seed that is best on validation.

    Of fresh weights where the run has trained none. ValueError where a library for it is missing,
    ExportError where the model can't be exported.
    """
    config = context.config
    keys = [key for key in config.cell_keys if key.model == spec.name]
    folders = [cell_folder(context.folder, key) for key in keys]
    if not any((folder / WEIGHTS).is_file() for folder in folders):
        network = build_model(spec, config.seeds[0], context).eval().requires_grad_(False)
        pipeline = Pipeline(network, make_transform(spec, context)).eval()
        return Artefact(prepare_onnx(pipeline)({}), pipeline, None)
    cell = find_cell(context.folder, spec.name)
    data = context.of_cell(cell.record.key).data
    files, check = find_photographs(cell.record), context.runtime.check_signal
    exporter = Exporter.open(cell, data, files, check=check)
    path = cell.folder / EXPORT
    if not path.is_file() or read_metadata(path).get("checksum") != exporter.info.checksum:
        exporter.export("onnx", path, context.runtime.say)
    top1 = float(read_metadata(path)["file_top1"])
    return Artefact(path.read_bytes(), exporter.pipeline, top1)


def make_transform(spec: ModelSpec, context: RunContext) -> Transform:
    """Return how a model of this run has its pictures prepared."""
    data, taken = context.data, make_model_input(spec, context)
    return Transform(
        short_side=data.short_side,
        side=data.size,
        channels=data.test.images.shape[-1],
        mean=tuple(taken.mean),
        std=tuple(taken.std),
        in_channels=taken.in_channels,
        image_size=taken.image_size or data.size,
    )


def open_deployed(artefact: Artefact, context: RunContext) -> Deployed:
    """Open a file by every library that is here and answers a batch as it does."""
    runtime, config = context.runtime, context.config
    data = context.of_cell(config.cell_keys[0]).data
    stored, rows = data.rows_of("test")
    deployed = Deployed(artefact, take_squares(data, stored, rows[: max(BATCHES)]))
    # Pixels lie channel by channel, and so do the maps of all that is made of them.
    artefact.pipeline.to(memory_format=torch.channels_last)
    expected = open_onnxruntime(artefact, 1)(deployed.squares)
    for way in list_ways(runtime.num_threads):
        runtime.check_signal()
        title = LIBRARIES[way.library]
        if title in deployed.missing:
            continue
        num_threads = 1 if way.cores == "one core" else runtime.num_threads
        # Each size is compiled for itself, which takes minutes: torch's own batch is taken there.
        known = deployed.batches.get("torch" if way.library == "compiled" else way.library)
        images = deployed.squares[:known]
        try:
            ask = _with_threads(OPENERS[way.library](artefact, num_threads), num_threads)
            ask(images[:1])
            apart = float(np.abs(ask(images) - expected[: len(images)]).max())
        except Exception as error:
            # Libraries raise nearly anything for what they can't run.
            deployed.missing[title] = cause_of(error)
            continue
        if apart > MOST_APART:
            deployed.missing[title] = f"answers otherwise: probabilities are {apart:.2g} off"
            continue
        deployed.asks[way] = ask
        if known is None:
            known = _find_best_batch(ask, images, runtime)
        deployed.batches[way.library] = known
    return deployed


def list_ways(num_threads: int) -> list[Way]:
    """List the ways that differ: where a run has one core, all cores are one."""
    return [way for way in WAYS if num_threads > 1 or way.cores == "all cores"]


def _find_best_batch(ask: Ask, squares: Pixels, runtime: Runtime) -> int:
    """Return the batch in which an image takes least time."""
    best, least = 1, float("inf")
    for size in BATCHES:
        images = squares[:size]
        ask(images)
        seconds = time_action(partial(ask, images), runtime) / size
        if seconds < least:
            best, least = size, seconds
    return best


def time_deployed(
    deployed: Deployed, draw: random.Random, runtime: Runtime
) -> Callable[[], Mapping[str, float]]:
    """Make the visits of a file: milliseconds an image, by metric, in an order drawn afresh."""
    actions: dict[str, tuple[Ask, Pixels]] = {}
    for way, ask in deployed.asks.items():
        actions[way.metric("latency")] = ask, deployed.squares[:1]
        actions[way.metric("batched")] = ask, deployed.squares[: deployed.batches[way.library]]
    last = dict.fromkeys(actions, 0.0)

    def visit() -> Mapping[str, float]:
        found = dict.fromkeys(actions, 0.0)
        for name in draw.sample(list(actions), len(actions)):
            ask, images = actions[name]
            if last[name] < LONG_SECONDS:
                ask(images)  # what another library left in the caches is not this one's cost
            last[name] = time_action(partial(ask, images), runtime)
            found[name] = 1e3 * last[name] / len(images)
        return found

    return visit


def open_torch(artefact: Artefact, num_threads: int) -> Ask:
    """Ask the pipeline itself, step by step."""
    return _ask_module(artefact.pipeline)


def open_compiled(artefact: Artefact, num_threads: int) -> Ask:
    """Ask the pipeline compiled by torch, once for each size of a batch."""
    return _ask_module(compile_model(artefact.pipeline))


def _ask_module(module: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]) -> Ask:
    def ask(pixels: Pixels) -> NDArray[np.float32]:
        with torch.inference_mode():
            return module(torch.from_numpy(pixels))[0].numpy()

    return ask


def open_onnxruntime(artefact: Artefact, num_threads: int) -> Ask:
    """Ask the file by onnxruntime, whose threads rest once an answer is there."""
    session = open_session(artefact.content, num_threads, rests=True)
    (name,) = [taken.name for taken in session.get_inputs()]

    def ask(pixels: Pixels) -> NDArray[np.float32]:
        found: NDArray[np.float32] = session.run([PROBABILITIES], {name: pixels})[0]
        return found

    return ask


def open_openvino(artefact: Artefact, num_threads: int) -> Ask:
    """Ask the file by OpenVINO, in full precision, compiled for each size of a batch."""
    openvino = need("openvino", "openvino")
    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": num_threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled: dict[tuple[int, ...], Any] = {}

    def ask(pixels: Pixels) -> NDArray[np.float32]:
        if pixels.shape not in compiled:
            model = core.read_model(artefact.content)
            model.reshape(list(pixels.shape))
            compiled[pixels.shape] = core.compile_model(model, "CPU", settings)
        found: NDArray[np.float32] = compiled[pixels.shape]([pixels])[PROBABILITIES]
        return found

    return ask


OPENERS: dict[Library, Callable[[Artefact, int], Ask]] = {
    "torch": open_torch,
    "compiled": open_compiled,
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
}
assert OPENERS.keys() == LIBRARIES.keys()


def _with_threads(ask: Ask, num_threads: int) -> Ask:
    """Ask with so many threads of torch, which counts them for the whole process."""

    def ask_so(pixels: Pixels) -> NDArray[np.float32]:
        with _torch_threads(num_threads):
            return ask(pixels)

    return ask_so


@contextmanager
def _torch_threads(num_threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
