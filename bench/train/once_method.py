"""Learning at once: a fitted model's codebook, the features of all images, and its classifier.

Three stages, each of which is kept as soon as it is done, so that a resume doesn't do it again.
Ranks share the images. What follows from all of them each rank computes alike, and the first one's
result counts. Other processors may round differently, and so take more rounds or fewer: meanwhile
no rank asks another, not even whether a signal came.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue
from torch import Tensor, nn

from bench.data.dataset import Split
from bench.data.loader import Batch, evaluation_batches, find_share
from bench.data.sampling import seed_of
from bench.results.record import Accuracy, Epoch, Stage
from bench.train.build import RunContext, assess, make_model_input
from bench.train.codebook import NUM_SAMPLED, learn_codebook
from bench.train.evaluation import Predictions, evaluate
from bench.train.method import Moved
from bench.train.solver import Features, Solver
from bench.train.solver_choice import start_solver
from bench.train.stage_file import StageFile
from bench.train.trainer import Progress
from zoo.fitted_model import FittedModel
from zoo.kernel_map import KernelMap
from zoo.spec import ModelSpec, Prepared

T = TypeVar("T")
DESCRIPTORS_A_CODE = 500
# Coates, Lee, Ng 2011 draw 400,000 patches.
LEAST_DESCRIPTORS, MOST_DESCRIPTORS = 20_000, 400_000
BATCH = 64  # images a rank embeds at a time: their activations stay in the caches of a CPU


@dataclass
class OnceMethod:
    """A model that is fitted once, and which of its stages are done."""

    model: FittedModel
    spec: ModelSpec
    seed: int
    context: RunContext
    solver: Solver
    file: StageFile
    stages: tuple[Stage, ...] = ()

    @property
    def bare(self) -> nn.Module:
        return self.model

    @property
    def evaluated(self) -> nn.Module:
        return self.model

    @property
    def progress(self) -> Progress:
        return Progress()

    def restore(self, stages: tuple[Stage, ...]) -> None:
        """Go on behind the last stage that was kept."""
        self.stages = self.file.restore(self.model, self.solver)
        if self.stages:
            done = ", ".join(stage.name for stage in self.stages)
            self.context.runtime.say(f"    goes on behind the stages {done}")

    def begin(self) -> None:
        """Do the stages that aren't done yet."""
        for name, work in {
            "codebook": self._learn_codes,
            "features": self._embed_images,
            "fit": self._fit_classifier,
        }.items():
            is_done = any(stage.name == name for stage in self.stages)
            if is_done or (name == "codebook" and not self.model.has_codebook):
                continue
            self.stages = (*self.stages, work())
            # Before a signal is heeded: it may have taken minutes.
            self.file.save(self.model, self.solver, self.stages)
            self.context.runtime.check_signal()

    def fit(self, moved: Moved) -> Iterator[Epoch]:
        """Take no steps."""
        yield from ()

    def heed(self, errors: Sequence[float]) -> None:
        """Do nothing: its strength was chosen on validation already."""

    def assess(self, split: Split, crops: int) -> tuple[Accuracy, Predictions]:
        """Evaluate the model as any other."""
        return assess(self.model, self.spec, self.context, split=split, crops=crops)

    def save(self) -> None:
        """Do nothing: each stage was kept when it was done."""

    def close(self) -> None:
        """Do nothing: it holds no files."""

    def _learn_codes(self) -> Stage:
        """Learn the codes, and a kernel's landmarks, from a few images, drawn by the seed."""
        runtime, data, model = self.context.runtime, self.context.data, self.model
        generator = torch.Generator().manual_seed(seed_of(self.seed))
        drawn = torch.randperm(len(data.train_indices), generator=generator)[:NUM_SAMPLED]
        rows = data.train_indices[np.sort(drawn.numpy())]

        def learn() -> dict[str, float]:
            images = torch.cat([batch.images for batch in self._read(rows)])
            found: dict[str, float] = {}
            if isinstance(model.local, Prepared):
                model.local.see_images(images)
            if model.encoder is not None:
                num_wanted = DESCRIPTORS_A_CODE * model.encoder.num_codes
                num_wanted = min(max(LEAST_DESCRIPTORS, num_wanted), MOST_DESCRIPTORS)
                samples = _sample_descriptors(model, images, num_wanted, generator)
                found |= learn_codebook(model.encoder, samples, generator, runtime.check_own_signal)
            if model.kernel is not None:
                found |= _choose_landmarks(model.kernel, model, images, generator)
            return found

        found, seconds = self._time(learn)
        self._agree()
        runtime.say(f"    codebook learnt in {seconds:.1f} s")
        return Stage(name="codebook", images=0, seconds=seconds, found=dict(found))

    def _embed_images(self) -> Stage:
        """Have the solver take in the features of all training images."""
        rows = self.context.data.train_indices

        def embed() -> None:
            for block in self._features_of(rows):
                self.solver.take(block)

        _, seconds = self._time(embed)
        width = self.model.num_features
        self.context.runtime.say(
            f"    {width:,} features of {len(rows):,} images computed in {seconds:.1f} s"
        )
        found: dict[str, JsonValue] = {"images": len(rows), "width": width}
        return Stage(name="features", images=0, seconds=seconds, found=found)

    def _fit_classifier(self) -> Stage:
        """Fit the classifier, its strength chosen on validation."""
        runtime, data = self.context.runtime, self.context.data

        def fit() -> tuple[Features, dict[str, JsonValue]]:
            blocks = list(self._features_of(data.validation_indices))
            held = Features(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))
            return held, self.solver.solve(held, runtime.check_own_signal)

        (held, found), seconds = self._time(fit)
        self._agree()
        accuracy = self._assess_features(held)
        chosen = f", of strength {found['strength']:g}" if "strength" in found else ""
        runtime.say(
            f"    classifier fitted in {seconds:.1f} s{chosen}: "
            f"validation top-1 {accuracy.top1:.2f} %"
        )
        return Stage(
            name="fit",
            images=len(data.train_indices),
            seconds=seconds,
            found=found,
            evaluation=accuracy,
        )

    def _time(self, work: Callable[[], T]) -> tuple[T, float]:
        """Do something without gradients; return its result and the slowest rank's seconds."""
        start = time.perf_counter()
        with torch.no_grad():
            result = work()
        return result, max(self.context.runtime.gather(time.perf_counter() - start))

    def _agree(self) -> None:
        """Give every rank the first one's weights."""
        self.model.load_state_dict(self.context.runtime.broadcast(self.model.state_dict()))

    def _read(self, rows: NDArray[np.int64]) -> Iterator[Batch]:
        """Read training images, as an evaluation would."""
        return evaluation_batches(
            self.context.data.train,
            rows,
            make_model_input(self.spec, self.context),
            dataset=self.context.data,
            batch_size=BATCH,
        )

    def _features_of(self, rows: NDArray[np.int64]) -> Iterator[Features]:
        """Yield the features of training images in blocks, whose batches ranks compute in turn.

        A collective call. Every rank gets all blocks. A block holds the same images however many
        ranks there are, so that it is rounded alike.
        """
        runtime = self.context.runtime
        starts = range(0, len(rows), BATCH)
        own = [
            rows[start : start + BATCH] for start in starts[runtime.data_rank :: runtime.data_size]
        ]
        batches = self._read(np.concatenate(own)) if own else iter(())
        self.model.eval()
        for _ in range(0, len(starts), runtime.data_size):
            runtime.check_signal()
            batch = next(batches, None)
            block = Features(self.model.embed(batch.images), batch.labels) if batch else None
            yield from (one for one in runtime.gather_shards(block) if one is not None)

    def _assess_features(self, held: Features) -> Accuracy:
        """Evaluate the classifier on the features of the validation images."""
        context = self.context
        runtime = context.runtime
        share = find_share(len(held.rows), runtime.data_rank, runtime.data_size)
        rows = torch.split(held.rows[share], BATCH)
        labels = torch.split(held.labels[share], BATCH)
        accuracy, _ = evaluate(
            self.model.classifier,
            (Batch(*part) for part in zip(rows, labels, strict=True) if len(part[1])),
            split="validation",
            num_images=len(held.rows),
            superclass_of=context.data.superclass_of,
            runtime=runtime,
        )
        return accuracy


def _sample_descriptors(
    model: FittedModel, images: Tensor, num_wanted: int, generator: torch.Generator
) -> Tensor:
    """Return about so many descriptors (M, D), from places of images drawn at random."""
    an_image = -(-num_wanted // len(images))
    samples = []
    for part in torch.split(images, model.chunk):
        descriptors = model.local(part).movedim(1, 3).flatten(0, 2)
        drawn = torch.randperm(len(descriptors), generator=generator)[: an_image * len(part)]
        samples.append(descriptors[drawn.to(descriptors.device)])
    return torch.cat(samples)


def _choose_landmarks(
    kernel: KernelMap, model: FittedModel, images: Tensor, generator: torch.Generator
) -> dict[str, float]:
    """Take some of these images as a kernel's landmarks."""
    drawn = torch.randperm(len(images), generator=generator)[: kernel.num_landmarks]
    kernel.see_features(model.pool(images[drawn.to(images.device)]))
    return {"landmarks": kernel.num_landmarks}


def start_once_method(
    model: nn.Module, spec: ModelSpec, seed: int, context: RunContext, checkpoints: Path
) -> OnceMethod:
    """Put a built model where it is fitted, with the solver of its classifier."""
    placed = context.runtime.place_model(model, spec.parallelise)
    assert isinstance(placed, FittedModel), "a spec whose learner is `once` is of a fitted model"
    solver = start_solver(placed, len(context.data.train_indices), seed)
    file = StageFile(checkpoints / "stages", context.runtime)
    return OnceMethod(placed, spec, seed, context, solver, file)
