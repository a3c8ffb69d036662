"""What a run builds for a model, the same in every process: network, loader, learner."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bench.data.dataset import Dataset, Split
from bench.data.loader import Loader, evaluation_batches
from bench.data.pixels import ModelInput, count_uploaded_bytes
from bench.data.sampling import seed_of
from bench.data.subset import take_part
from bench.distributed.runtime import Runtime
from bench.request.config import RunConfig, to_json
from bench.results.record import Accuracy, CellKey
from bench.train.evaluation import Predictions, evaluate
from bench.train.optimizer import build_optimizer
from bench.train.schedule import choose_optimizer
from bench.train.step import reaches_all
from bench.train.trainer import Learner
from zoo.regularise import build_regularised
from zoo.spec import ModelSpec, Prepared

EVALUATION_BATCH = 500  # images a rank holds at once while it evaluates
NUM_SEEN = 500  # training images for a network that sets its weights by some before it is trained


@dataclass(frozen=True)
class RunContext:
    """What all cells of a run share."""

    config: RunConfig
    data: Dataset
    runtime: Runtime
    folder: Path
    environment: Mapping[str, Any]

    def of_cell(self, key: CellKey) -> "RunContext":
        """Return the context as a cell has it: its data are what it sees of them."""
        return replace(self, data=take_part(self.data, key, self.config))


def get_dropout_rates(config: RunConfig) -> dict[str, float | None]:
    """Return the rates of dropout and stochastic depth, None where the model's own stand."""
    return {"dropout": config.dropout, "drop_path": config.drop_path}


def build_model(spec: ModelSpec, seed: int, context: RunContext) -> nn.Module:
    """Build a model with the weights that its seed and the data give, the same in every process."""
    data = context.data
    context.runtime.seed_torch(seed_of(seed))
    rates = get_dropout_rates(context.config)
    model = build_regularised(spec, len(data.class_names), **rates)
    if isinstance(model, Prepared):
        batches = evaluation_batches(
            data.train,
            data.train_indices[:NUM_SEEN],
            make_model_input(spec, context),
            dataset=data,
            batch_size=NUM_SEEN,
        )
        # The model isn't placed on its device yet.
        model.see_images(next(batches).images.cpu())
    return model


def build_loader(spec: ModelSpec, seed: int, context: RunContext) -> Loader:
    """Build the loader of this rank's training batches."""
    config, runtime = context.config, context.runtime
    return Loader(
        context.data,
        make_model_input(spec, context),
        batch_size=config.batch_size,
        data_rank=runtime.data_rank,
        data_size=runtime.data_size,
        seed=seed,
        augment=config.augment,
        balanced=config.balance,
    )


class Outcome(NamedTuple):
    """What a trained model said of the test images, and of validation where the protocol has it."""

    accuracy: Accuracy
    predictions: Predictions
    validated: Predictions | None


@dataclass
class Assessor:
    """Evaluates a cell's model, which `assess(split, crops)` does, on what the protocol allows.

    `split` reads the validation images at an epoch's end and the test set once, at the end;
    `published` reads the test set each time, as most papers did.
    """

    assess: Callable[[Split, int], tuple[Accuracy, Predictions]]
    config: RunConfig
    validated: Predictions | None = None  # what was said of validation at the last epoch's end

    def assess_epoch(self) -> Accuracy:
        """Evaluate the model at an epoch's end."""
        if self.config.protocol == "published":
            return self.assess("test", 1)[0]
        accuracy, self.validated = self.assess("validation", 1)
        return accuracy

    def assess_train(self) -> Accuracy | None:
        """Evaluate the model on what it was trained on, where that is asked for."""
        return self.assess("train", 1)[0] if self.config.assess_train else None

    def assess_end(self) -> Outcome:
        """Evaluate the model whose training has ended, as it was at its last epoch's end."""
        crops = self.config.crops
        accuracy, said = self.assess("test", crops)
        # Conformal sets are only right if both splits were looked at in the same way.
        unseen = self.validated is None or crops > 1
        if unseen and self.config.protocol == "split":
            _, self.validated = self.assess("validation", crops)
        return Outcome(accuracy, said, self.validated)


def assess(
    model: nn.Module,
    spec: ModelSpec,
    context: RunContext,
    *,
    split: Split,
    crops: int = 1,
) -> tuple[Accuracy, Predictions]:
    """Evaluate a model on a split's images; each of several crops costs a forward pass of all."""
    data, runtime = context.data, context.runtime
    images, indices = data.rows_of(split)
    batches = evaluation_batches(
        images,
        indices,
        make_model_input(spec, context),
        dataset=data,
        batch_size=EVALUATION_BATCH // crops,
        data_rank=runtime.data_rank,
        data_size=runtime.data_size,
        crops=crops,
    )
    return evaluate(
        model,
        batches,
        split=split,
        num_images=len(indices),
        superclass_of=data.superclass_of,
        runtime=runtime,
    )


def make_model_input(spec: ModelSpec, context: RunContext) -> ModelInput:
    """Return how images are made into what a model of this run takes."""
    return ModelInput(
        mean=spec.mean or context.data.mean,
        std=spec.std or context.data.std,
        channels_last=context.config.uses_channels_last,
        device=context.runtime.device,
        image_size=context.config.image_size or spec.image_size,
        in_channels=spec.in_channels,
    )


def make_memory_request(spec: ModelSpec, context: RunContext) -> dict[str, object]:
    """Return what a fresh process must know to measure this model's peak memory."""
    config = choose_optimizer(context.config, spec.defaults)
    return {
        "config": to_json(replace(config, num_threads=context.runtime.num_threads)),
        "model": spec.name,
        "num_classes": len(context.data.class_names),
        "in_channels": spec.in_channels,
        "image_size": config.image_size or spec.image_size,
        "batch_size": config.batch_size // context.runtime.data_size,
        "uploaded_bytes": count_uploaded_bytes(context.data.train.images, context.runtime.device),
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
    sizes_vary: bool = False,
) -> Learner:
    """Put a built model where it is trained, and build its learner (`build_learner`)."""
    placed = runtime.place_model(model, spec.parallelise)
    return build_learner(
        placed,
        config=config,
        peak=peak,
        seed=seed,
        runtime=runtime,
        class_weights=class_weights,
        leaves_some=_leaves_some(placed, spec, config=config, runtime=runtime),
        sizes_vary=sizes_vary,
    )


def _leaves_some(model: nn.Module, spec: ModelSpec, *, config: RunConfig, runtime: Runtime) -> bool:
    """Return whether a step may leave parameters without a gradient, which ranks must know of."""
    if runtime.data_size == 1:
        return False
    # A user's own code may take another way at every step: one trial would say little.
    if spec.source == "file":
        return True
    size = config.image_size or spec.image_size
    shape = (spec.in_channels, size, size)
    return not reaches_all(model, shape, config=config, device=runtime.device)


def build_learner(
    bare: nn.Module,
    *,
    config: RunConfig,
    peak: float,
    seed: int,
    runtime: Runtime,
    class_weights: Sequence[float] | None = None,
    leaves_some: bool = False,
    sizes_vary: bool = False,
) -> Learner:
    """Build all that training a model needs, which is where `Runtime.place_model` has put it.

    `peak` is the highest learning rate. `class_weights` (classes,) count images in the loss.
    `leaves_some`: a step may leave parameters without a gradient.
    `sizes_vary` says that it will be shown batches of many sizes.
    """
    memory_format = torch.channels_last if config.uses_channels_last else torch.contiguous_format
    bare = bare.to(memory_format=memory_format)
    if config.sync_batchnorm:
        bare = runtime.share_norms(bare)
    ema = None
    if config.ema:
        average = get_ema_multi_avg_fn(config.ema)  # type: ignore[no-untyped-call]
        # Running statistics are averaged too: those of the last step don't fit averaged weights.
        ema = AveragedModel(bare, multi_avg_fn=average, use_buffers=True)
    model = runtime.wrap_model(bare, exact=config.exact, leaves_some=leaves_some)
    # Compiled last: torch then splits the graph where DDP exchanges gradients, which overlaps both.
    if config.compile:
        model = compile_model(model, sizes_vary=sizes_vary)
    weights = None
    if class_weights is not None:
        weights = torch.tensor(class_weights, device=runtime.device)
    return Learner(
        bare=bare,
        model=model,
        optimizer=build_optimizer(bare, config, peak),
        ema=ema,
        peak=peak,
        seed=seed,
        config=config,
        runtime=runtime,
        class_weights=weights,
    )


def compile_model(model: nn.Module, *, sizes_vary: bool = False) -> nn.Module:
    """Compile a model on its own, for the one size of its batches unless `sizes_vary`.

    Left to its defaults, torch shares between models of one class what it has compiled: the ninth
    of them would run uncompiled, without a word, and the second one with other images would get
    kernels for any size, which are slower.
    """
    options: dict[str, Any] = {"isolate_recompiles": True}  # torch's own annotations lack it
    compiled = torch.compile(model, dynamic=None if sizes_vary else False, **options)
    return cast(nn.Module, compiled)
