"""What a run builds for a model, the same in every process.

Its weights, its batches, its assessment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bench.data.dataset import Dataset
from bench.data.loader import Loader, evaluation_batches
from bench.data.pixels import ModelInput
from bench.data.sampling import seed_of
from bench.distributed.runtime import Runtime
from bench.request.config import OPTIMIZERS, RunConfig, to_json
from bench.results.record import Accuracy
from bench.train.evaluation import Predictions, evaluate
from bench.train.schedule import settle
from bench.train.trainer import Learner
from zoo.regularise import build_regularised
from zoo.spec import ModelSpec, Prepared
from zoo.suggest import unknown

if TYPE_CHECKING:
    from torch import Tensor, nn
from bench.request.config import HUB, NONE
from bench.results.storage import weights_file

EVALUATION_BATCH = 500  # images a rank holds at once while it evaluates
NUM_SEEN = (
    500  # training images that are shown to a network that wants to see some before it is trained
)


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
    context.runtime.seed_torch(seed_of(seed))
    model = build_regularised(spec, len(context.data.class_names), **drawn_rates(context.config))
    if isinstance(model, Prepared):
        batches = evaluation_batches(
            context.data.train,
            context.data.train_indices[:NUM_SEEN],
            model_input(spec, context),
            dataset=context.data,
            batch_size=NUM_SEEN,
        )
        model.see_images(next(batches).images.cpu())
    return model


def build_loader(spec: ModelSpec, seed: int, context: RunContext) -> Loader:
    """Make the training batches of this rank."""
    config, runtime = context.config, context.runtime
    return Loader(
        context.data,
        model_input(spec, context),
        batch_size=config.batch_size,
        data_rank=runtime.data_rank,
        data_size=runtime.data_size,
        seed=seed,
        augment=config.augment,
        balanced=config.balance,
    )


def assess(
    model: nn.Module, spec: ModelSpec, context: RunContext, *, final: bool
) -> tuple[Accuracy, Predictions]:
    """Evaluate on what the protocol allows.

    Validation at an epoch's end, the test set in the end.
    """
    data, runtime = context.data, context.runtime
    test = final or data.protocol == "published"
    images, indices = (data.test, None) if test else (data.train, data.validation_indices)
    crops = context.config.crops if final else 1
    batches = evaluation_batches(
        images,
        indices,
        model_input(spec, context),
        dataset=data,
        batch_size=EVALUATION_BATCH // crops,
        data_rank=runtime.data_rank,
        data_size=runtime.data_size,
        crops=crops,
    )
    num_images = len(images.labels) if indices is None else len(indices)
    return evaluate(
        model,
        batches,
        split="test" if test else "validation",
        num_images=num_images,
        superclass_of=data.superclass_of,
        runtime=runtime,
    )


def model_input(spec: ModelSpec, context: RunContext) -> ModelInput:
    """What a model of this run takes."""
    return ModelInput(
        mean=spec.mean or context.data.mean,
        std=spec.std or context.data.std,
        channels_last=context.config.channels_last,
        device=context.runtime.device,
        image_size=context.config.image_size or spec.image_size,
        in_channels=spec.in_channels,
    )


def memory_request(spec: ModelSpec, context: RunContext) -> dict[str, object]:
    """What a fresh process must know to measure this model's peak memory."""
    config = settle(context.config, spec.defaults)
    return {
        "config": to_json(replace(config, num_threads=context.runtime.num_threads)),
        "model": spec.name,
        "num_classes": len(context.data.class_names),
        "in_channels": spec.in_channels,
        "image_size": config.image_size or spec.image_size,
        "batch_size": config.batch_size // context.runtime.data_size,
    }


def prepare_learner(
    model: nn.Module,
    spec: ModelSpec,
    *,
    config: RunConfig,
    peak: float,
    seed: int,
    runtime: Runtime,
    class_weights: Sequence[float] | None = None,
) -> Learner:
    """Put a built model where it is trained, and make everything that training it needs."""
    placed = runtime.place_model(model, spec.parallelise)
    return build_learner(
        placed,
        config=config,
        peak=peak,
        seed=seed,
        runtime=runtime,
        class_weights=class_weights,
    )


def build_learner(
    bare: nn.Module,
    *,
    config: RunConfig,
    peak: float,
    seed: int,
    runtime: Runtime,
    class_weights: Sequence[float] | None = None,
) -> Learner:
    """Make everything that training a model needs, which is where `Runtime.place_model` has put it.

    `class_weights` count in the loss.
    """
    memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
    bare = bare.to(memory_format=memory_format)
    if config.sync_batchnorm:
        bare = runtime.share_norms(bare)
    average = get_ema_multi_avg_fn(config.ema) if config.ema else None  # type: ignore[no-untyped-call]
    ema = AveragedModel(bare, multi_avg_fn=average, use_buffers=True) if average else None
    model = runtime.wrap_model(bare, exact=config.exact)
    if config.compile:
        model = torch.compile(model)  # type: ignore[assignment]
    weights = None if class_weights is None else torch.tensor(class_weights, device=runtime.device)
    return Learner(
        bare, model, build_optimizer(bare, config, peak), ema, peak, seed, config, runtime, weights
    )


def build_optimizer(model: nn.Module, config: RunConfig, peak: float) -> torch.optim.Optimizer:
    """Build the optimiser, sgd where none is named; biases, norms and other vectors don't decay.

    Raises ValueError for a name that neither we nor timm have.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    name = config.optimizer or "sgd"
    if name in ("sgd", "momentum"):
        nesterov = name == "sgd" and config.momentum > 0
        return torch.optim.SGD(
            groups, lr=peak, momentum=config.momentum, nesterov=nesterov, fused=True
        )
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=peak, fused=True)
    if name == "adam":
        return torch.optim.Adam(groups, lr=peak, fused=True)
    return _timm_optimizer(groups, name, config, peak)


def check_optimizer(name: str | None) -> None:
    """Raise ValueError with the nearest names for an optimiser that neither we nor timm have."""
    if name is not None and name not in OPTIMIZERS:
        import timm.optim

        known = sorted({*OPTIMIZERS, *map(str, timm.optim.list_optimizers())})  # type: ignore[attr-defined]
        if name not in known:
            raise ValueError(unknown("--optimizer", name, known))


def _timm_optimizer(
    groups: list[dict[str, object]], name: str, config: RunConfig, peak: float
) -> torch.optim.Optimizer:
    import timm.optim

    optimizer: torch.optim.Optimizer = timm.optim.create_optimizer_v2(  # type: ignore[attr-defined]
        groups, opt=name, lr=peak, weight_decay=config.weight_decay, momentum=config.momentum
    )
    return optimizer


class Start(NamedTuple):
    """Where a model's first weights are from, and the parameters that are new since the classes differ."""

    origin: str
    fresh: tuple[str, ...]


def read_weights(given: str, model: str, seed: int) -> "dict[str, Tensor]":
    """Read the weights that a model starts from. ValueError, one line, where they can't be had."""
    if given != HUB:
        from zoo import weights

        return weights.read(weights_file(Path(given), model, seed))
    from zoo.external import trained_state

    return trained_state(model)


def check_fit(config: RunConfig, num_classes: int) -> None:
    """Check that the weights fit their models before anything starts.

    ValueError names model, parameter and shapes.
    """
    import torch

    from zoo import weights
    from zoo.registry import create_model

    for model in config.models if config.pretrained != NONE else ():
        with torch.device("meta"):
            built = create_model(model, num_classes=num_classes)
        for seed in config.seeds if config.pretrained != HUB else config.seeds[:1]:
            try:
                weights.fitted(
                    built, read_weights(config.pretrained, model, seed), num_classes=num_classes
                )
            except ValueError as error:
                raise ValueError(f"--pretrained: {model}: {error}") from error


def start_from(
    model: "nn.Module", state: "dict[str, Tensor]", *, given: str, num_classes: int
) -> Start:
    """Load a state into a model, and say what it starts from."""
    from zoo import weights

    fresh = weights.load_pretrained(model, state, num_classes=num_classes)
    return Start("published" if given == HUB else Path(given).name, tuple(fresh))
