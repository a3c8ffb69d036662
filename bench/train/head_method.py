"""A linear classifier on frozen features (`--train head`), and all layers from it (`head+all`)."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue
from torch import Tensor, nn

from bench.data.dataset import Split
from bench.data.loader import Batch, find_share
from bench.results.record import Accuracy, Epoch, Stage
from bench.train.build import RunContext
from bench.train.evaluation import Predictions, evaluate
from bench.train.feature import FrozenFeatures, Part, find_classifier, open_features
from bench.train.logistic import Chosen, choose_classifier
from bench.train.method import Moved
from bench.train.step import make_noise_batch
from bench.train.step_method import StepMethod, start_step_method
from bench.train.trainer import Progress
from zoo.spec import ModelSpec

BATCH = 4096  # features that are evaluated at a time


@dataclass
class HeadMethod:
    """A model whose last layer is fitted to its features, and the steps that may come after.

    The fitted layer is written into the network: what is evaluated, measured and saved is an
    ordinary model.
    """

    steps: StepMethod
    classifier: nn.Linear
    stages: tuple[Stage, ...] = ()
    opened: dict[Part, FrozenFeatures] = field(default_factory=dict)

    @property
    def bare(self) -> nn.Module:
        return self.steps.bare

    @property
    def evaluated(self) -> nn.Module:
        return self.steps.evaluated

    @property
    def progress(self) -> Progress:
        return self.steps.progress

    def restore(self, stages: tuple[Stage, ...]) -> None:
        """Go on from a checkpoint of the steps; a classifier alone is fitted again.

        Its features are in the cache.
        """
        self.steps.restore(())
        if self.steps.was_restored:
            self.stages = stages

    def begin(self) -> None:
        """Compute the features and fit the classifier to them, unless a checkpoint has it."""
        if self.stages:
            return
        context, classifier = self.steps.context, self.classifier
        data, runtime = context.data, context.runtime
        features = self._open("train")
        how = "from the cache; they took" if features.kept else "computed in"
        runtime.say(f"    features of {len(features.rows):,} images {how} {features.seconds:.1f} s")
        start = time.perf_counter()
        labels = torch.from_numpy(data.train.labels)

        def take(indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
            rows = torch.from_numpy(indices)
            return features.rows[rows].to(runtime.device), labels[rows].to(runtime.device)

        # Each rank solves the same problem while it would wait. The first one's solution counts:
        # other processors may round differently.
        chosen = choose_classifier(
            take(data.train_indices),
            take(data.validation_indices),
            num_classes=len(data.class_names),
            with_bias=classifier.bias is not None,
        )
        chosen = runtime.broadcast(chosen)
        _write(chosen, classifier)
        seconds = max(runtime.gather(time.perf_counter() - start))
        evaluation, _ = self._assess_features("validation", features)
        self.stages = (
            Stage(
                name="features",
                images=0,
                seconds=features.seconds,
                found={"images": len(features.rows), "kept": features.kept},
            ),
            Stage(
                name="fit",
                images=len(data.train_indices),
                seconds=seconds,
                found=_describe(chosen),
                evaluation=evaluation,
            ),
        )
        runtime.say(
            f"    classifier fitted in {seconds:.1f} s: strength {chosen.strength:g} has the "
            f"lowest validation loss, top-1 {evaluation.top1:.2f} %"
        )
        runtime.check_signal()

    def fit(self, moved: Moved) -> Iterator[Epoch]:
        """Take the steps that are asked for."""
        if self.steps.context.config.takes_steps:
            yield from self.steps.fit(moved)

    def heed(self, errors: Sequence[float]) -> None:
        self.steps.heed(errors)

    def assess(self, split: Split, crops: int) -> tuple[Accuracy, Predictions]:
        """Evaluate the model: by the features of its frozen layers for as long as they are."""
        is_frozen = self.stages and not self.progress.step
        if not is_frozen or crops > 1:
            return self.steps.assess(split, crops)
        # A fold is a part of the training set, whose features are all there.
        images, _ = self.steps.context.data.rows_of(split)
        part: Part = "train" if images is self.steps.context.data.train else "test"
        return self._assess_features(split, self._open(part))

    def _open(self, part: Part) -> FrozenFeatures:
        if part not in self.opened:
            spec, context = self.steps.spec, self.steps.context
            self.opened[part] = open_features(self.bare, self.classifier, part, spec, context)
        return self.opened[part]

    def _assess_features(
        self, split: Split, features: FrozenFeatures
    ) -> tuple[Accuracy, Predictions]:
        """Evaluate the classifier on the features of a split's images, this rank on its share."""
        context = self.steps.context
        data, runtime = context.data, context.runtime
        images, indices = data.rows_of(split)
        share = find_share(len(indices), runtime.data_rank, runtime.data_size)
        rows = torch.from_numpy(indices[share])
        labels = torch.from_numpy(images.labels)
        batches = (
            Batch(features.rows[part].to(runtime.device), labels[part].to(runtime.device))
            for part in torch.split(rows, BATCH)
            if len(part)
        )
        return evaluate(
            self.classifier,
            batches,
            split=split,
            num_images=len(indices),
            superclass_of=data.superclass_of,
            runtime=runtime,
        )

    def save(self) -> None:
        """Write a checkpoint of the steps, if the classifier that they start from is there."""
        if self.stages and self.steps.context.config.takes_steps:
            self.steps.save()

    def close(self) -> None:
        self.steps.close()


def start_head_method(
    model: nn.Module, spec: ModelSpec, seed: int, context: RunContext, checkpoints: Path
) -> HeadMethod:
    """Put a built model where it is trained, and find the layer that is fitted.

    ValueError, one line, for a model without a last linear layer.
    """
    steps = start_step_method(model, spec, seed, context, checkpoints)
    return HeadMethod(steps, find_last_layer(steps.bare, spec, context))


def find_last_layer(model: nn.Module, spec: ModelSpec, context: RunContext) -> nn.Linear:
    """Return the linear layer that makes a model's scores, found on images of its size."""
    config = context.config
    size = config.image_size or spec.image_size
    batch = make_noise_batch(
        1, (spec.in_channels, size, size), config=config, device=context.runtime.device
    )
    return find_classifier(model, batch.images)


def _write(chosen: Chosen, layer: nn.Linear) -> None:
    """Put a fitted classifier in the place of a layer's weights."""
    with torch.no_grad():
        layer.weight.copy_(chosen.classifier.weight)
        if layer.bias is not None:
            layer.bias.copy_(chosen.classifier.bias)


def _describe(chosen: Chosen) -> dict[str, JsonValue]:
    return {
        "strength": chosen.strength,
        "train_loss": chosen.train_loss,
        "validation_loss": {f"{strength:g}": loss for strength, loss in chosen.losses.items()},
    }
