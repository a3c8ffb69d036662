"""What a frozen network makes of images: its last layer's input, computed once and kept.

Features are kept in the user's cache beside decoded sets, under a checksum of all that they depend
on: weights, code, images, and how both are read and computed.
"""

import contextlib
import hashlib
import inspect
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.cache import Facts, find_cached, making_alone, open_cached
from bench.data.dataset import ImageSet
from bench.data.loader import evaluation_batches
from bench.distributed.runtime import Runtime
from bench.results.record import plain_name
from bench.train.build import RunContext, make_model_input
from zoo.spec import ModelSpec

FILE = "features.npy"
FORMAT = 1  # of what is kept; another number computes all anew
# Of a batch: its activations stay in the caches of a CPU (EfficientNet-Lite 0 at 224 px makes 93
# features a second in batches of 8, 40 in batches of 128), and fill a GPU.
PIXELS_ON_CPU = 8 * 224**2
PIXELS_ON_GPU = 256 * 224**2

Part = Literal["train", "test"]


@dataclass(frozen=True)
class FrozenFeatures:
    """A row an image in canonical order, (N, D) float32, and the seconds that computing them took.

    `kept` says that an earlier cell or run computed them.
    """

    rows: Tensor
    seconds: float
    kept: bool


def find_classifier(model: nn.Module, images: Tensor) -> nn.Linear:
    """Return the linear layer whose output is the model's scores, by trying it on images.

    ValueError, one line, for a model that has none.
    """
    outputs: list[tuple[nn.Linear, Tensor]] = []

    def note(layer: nn.Module, _given: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Linear)
        outputs.append((layer, output))

    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    handles = [layer.register_forward_hook(note) for layer in linear]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            scores = model(images)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    for layer, output in outputs:
        # Scores that were computed any further are another tensor.
        if output is scores and output.dim() == 2:
            return layer
    raise ValueError(
        "its scores don't come from a last linear layer, which a classifier on its features would "
        "take the place of; take --train all"
    )


def open_features(
    model: nn.Module, classifier: nn.Linear, part: Part, spec: ModelSpec, context: RunContext
) -> FrozenFeatures:
    """Return the features of all images of a part, from the cache or computed by all ranks.

    A collective call.
    """
    runtime = context.runtime
    name = f"features-{plain_name(spec.name)}"
    identity = _identify(model, classifier, part, spec, context)
    timeout = context.config.timeout
    kept = runtime.on_main(_read, name, identity, runtime, timeout)
    if kept is not None:
        return kept
    with contextlib.ExitStack() as stack:
        # Cells side by side (--pack) wait for the first of them instead of doing the same.
        alone = making_alone(name, identity, say=runtime.say, timeout=timeout)
        runtime.on_main(stack.enter_context, alone)
        kept = runtime.on_main(_read, name, identity, runtime, timeout)
        if kept is not None:
            return kept
        start = time.perf_counter()
        own = _compute_share(model, classifier, part, spec, context)
        runtime.check_signal()
        shares = runtime.gather_shards(own)
        seconds = max(runtime.gather(time.perf_counter() - start))
        found = FrozenFeatures(torch.cat(shares), seconds, kept=False)
        runtime.on_main(_keep, name, identity, found, runtime, timeout)
        return found


def count_batch(image_size: int, device: torch.device) -> int:
    """Return how many images of this size go through a frozen network at a time."""
    pixels = PIXELS_ON_GPU if device.type == "cuda" else PIXELS_ON_CPU
    return max(1, pixels // image_size**2)


def _compute_share(
    model: nn.Module, classifier: nn.Linear, part: Part, spec: ModelSpec, context: RunContext
) -> Tensor:
    """Compute the features of this rank's share of a part's images, in the CPU's memory."""
    data, runtime = context.data, context.runtime
    images = _images_of(part, context)
    taken = make_model_input(spec, context)
    batches = evaluation_batches(
        images,
        None,
        taken,
        dataset=data,
        batch_size=count_batch(taken.image_size or data.size, runtime.device),
        data_rank=runtime.data_rank,
        data_size=runtime.data_size,
    )
    rows: list[Tensor] = []

    def note(_layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        rows.append(given[0].float().cpu())

    model.eval()
    handle = classifier.register_forward_pre_hook(note)
    try:
        with torch.inference_mode(), runtime.accelerator.autocast():
            for batch in batches:
                runtime.check_own_signal()
                model(batch.images)
    finally:
        handle.remove()
    # Of few images a rank may have none.
    return torch.cat(rows) if rows else torch.empty(0, classifier.in_features)


def _images_of(part: Part, context: RunContext) -> ImageSet:
    return context.data.train if part == "train" else context.data.test


def _identify(
    model: nn.Module, classifier: nn.Linear, part: Part, spec: ModelSpec, context: RunContext
) -> str:
    """Say all that features depend on, the time that they took too."""
    runtime, data = context.runtime, context.data
    taken = make_model_input(spec, context)
    facts = {
        "format": FORMAT,
        "model": spec.name,
        "code": _hash_code(model),
        "weights": _hash_weights(model, classifier),
        "data": [data.name, data.checksum, data.size, data.margin, part],
        "input": [taken.image_size, taken.in_channels, list(taken.mean), list(taken.std)],
        "channels_last": taken.channels_last,
        "computed by": _describe_machine(context.environment),
        "settings": runtime.settings_in_force(),
        "processes": runtime.data_size,
    }
    return json.dumps(facts, sort_keys=True, default=str)


def _describe_machine(environment: Mapping[str, Any]) -> dict[str, object]:
    names = ("machine", "torch", "cuda", "cpu_capability", "large_pages", "deterministic")
    return {name: environment.get(name) for name in names}


def _hash_code(model: nn.Module) -> str:
    """Hash the file that a model's class is written in, and the layers that it is made of."""
    total = hashlib.sha256(repr(model).encode())
    source = inspect.getsourcefile(type(model))
    if source is not None and Path(source).is_file():
        total.update(Path(source).read_bytes())
    return total.hexdigest()


def _hash_weights(model: nn.Module, classifier: nn.Linear) -> str:
    """Hash all parameters and buffers but the classifier's, which each seed draws afresh."""
    own = {id(parameter) for parameter in classifier.parameters()}
    total = hashlib.sha256()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if id(tensor) in own:
            continue
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        plain = tensor.detach().cpu().contiguous()
        total.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _read(name: str, identity: str, runtime: Runtime, timeout: float) -> FrozenFeatures | None:
    """Read features that were kept; None where there are none, or they are damaged."""
    found = find_cached(name, identity, stamp="", say=runtime.say, timeout=timeout)
    if found is None:
        return None
    folder, facts = found
    return FrozenFeatures(torch.from_numpy(np.load(folder / FILE)), facts["seconds"], kept=True)


def _keep(
    name: str, identity: str, found: FrozenFeatures, runtime: Runtime, timeout: float
) -> None:
    """Keep features for later cells and runs; that the disk refuses them is said and no failure."""

    def build(aside: Path) -> Facts:
        np.save(aside / FILE, found.rows.numpy())
        return {"seconds": found.seconds}

    try:
        open_cached(name, identity, stamp="", build=build, say=runtime.say, timeout=timeout)
    except ValueError as error:
        runtime.say(f"features aren't kept: {error}")
