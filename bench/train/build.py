"""What a run builds for a model, the same in every process: its weights, its batches, its assessment."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from bench.data.dataset import Dataset
from bench.data.loader import Loader, evaluation_batches
from bench.data.pixels import ModelInput
from bench.distributed.runtime import Runtime
from bench.request.config import RunConfig, to_json
from bench.results.record import Accuracy
from bench.train.evaluation import Predictions, evaluate
from bench.train.schedule import settle
from zoo.regularise import build_regularised
from zoo.spec import ModelSpec, Prepared

EVALUATION_BATCH = 500  # images a rank holds at once while it evaluates
NUM_SEEN = 500  # training images that are shown to a network that wants to see some before it is trained


@dataclass(frozen=True)
class RunContext:
    """What all cells of a run share."""

    config: RunConfig
    data: Dataset
    runtime: Runtime
    folder: Path
    environment: Mapping[str, Any]


def drawn_rates(config: RunConfig) -> dict[str, float | None]:
    """What is drawn within a model as it trains: dropout and stochastic depth."""
    return {"dropout": config.dropout, "drop_path": config.drop_path}


def build_model(spec: ModelSpec, seed: int, context: RunContext) -> nn.Module:
    """Build a model with the weights that its seed and the data give, the same in every process."""
    context.runtime.seed(seed)
    model = build_regularised(spec, len(context.data.class_names), **drawn_rates(context.config))
    if isinstance(model, Prepared):
        batches = evaluation_batches(
            context.data.train, context.data.train_indices[:NUM_SEEN], model_input(spec, context), dataset=context.data,
            batch_size=NUM_SEEN,
        )  # fmt: skip
        model.see_images(next(batches).images.cpu())
    return model


def build_loader(spec: ModelSpec, seed: int, context: RunContext) -> Loader:
    """Make the training batches of this rank."""
    config, runtime = context.config, context.runtime
    return Loader(
        context.data, model_input(spec, context), batch_size=config.batch_size, data_rank=runtime.data_rank,
        data_size=runtime.data_size, seed=seed, augment=config.augment, balanced=config.balance,
    )  # fmt: skip


def assess(model: nn.Module, spec: ModelSpec, context: RunContext, *, final: bool) -> tuple[Accuracy, Predictions]:
    """Evaluate on what the protocol allows: validation at an epoch's end, the test set in the end."""
    data, runtime = context.data, context.runtime
    test = final or data.protocol == "published"
    images, indices = (data.test, None) if test else (data.train, data.validation_indices)
    crops = context.config.crops if final else 1
    batches = evaluation_batches(
        images, indices, model_input(spec, context), dataset=data, batch_size=EVALUATION_BATCH // crops,
        data_rank=runtime.data_rank, data_size=runtime.data_size, crops=crops,
    )  # fmt: skip
    num_images = len(images.labels) if indices is None else len(indices)
    return evaluate(
        model, batches, split="test" if test else "validation", num_images=num_images,
        superclass_of=data.superclass_of, runtime=runtime,
    )  # fmt: skip


def model_input(spec: ModelSpec, context: RunContext) -> ModelInput:
    """What a model of this run takes."""
    return ModelInput(
        mean=spec.mean or context.data.mean, std=spec.std or context.data.std, channels_last=context.config.channels_last,
        device=context.runtime.device, image_size=context.config.image_size or spec.image_size,
        in_channels=spec.in_channels,
    )  # fmt: skip


def memory_request(spec: ModelSpec, context: RunContext) -> dict[str, object]:
    """What a fresh process must know to measure this model's peak memory."""
    config = settle(context.config, spec.defaults)
    return {
        "config": to_json(replace(config, num_threads=context.runtime.num_threads)), "model": spec.name,
        "num_classes": len(context.data.class_names), "in_channels": spec.in_channels,
        "image_size": config.image_size or spec.image_size, "batch_size": config.batch_size // context.runtime.data_size,
    }  # fmt: skip
