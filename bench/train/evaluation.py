"""Evaluate a model: what it says of every image, counted over all ranks."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from bench.data.loader import Batch
from bench.distributed.runtime import Interrupted, Runtime
from bench.results.record import Accuracy


class Predictions(NamedTuple):
    """What a model said of every image, in canonical order.

    Its five likeliest classes and how sure it was.
    """

    label: NDArray[np.int16]
    top5: NDArray[np.int16]
    confidence: NDArray[np.float32]

    @property
    def predicted(self) -> NDArray[np.int16]:
        return self.top5[:, 0]


def evaluate(
    model: nn.Module,
    batches: Iterator[Batch],
    *,
    split: str,
    num_images: int,
    superclass_of: Sequence[int],
    runtime: Runtime,
) -> tuple[Accuracy, Predictions]:
    """Count right answers over all ranks; asserts that every one of `num_images` was seen once.

    The superclass is the one with the largest sum of probabilities. The loss is the mean cross
    entropy.
    """
    model.eval()
    parts: list[tuple[torch.Tensor, ...]] = []
    membership = _membership(superclass_of, runtime.device)
    with torch.inference_mode():
        for batch in batches:
            if runtime.world_size == 1 and runtime.signum:
                raise Interrupted(runtime.signum)
            with runtime.accelerator.autocast():
                scores = model(batch.images).float()
            parts.append(_judge(_over_views(scores, len(batch.labels)), batch.labels, membership))
    labels, top5, confidence, right_super, loss = (
        torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)
    )
    shards = runtime.gather_shards(
        (labels, top5, confidence, int(right_super.sum()), float(loss.sum(dtype=np.float64)))
    )
    label, best, sure = (np.concatenate([shard[i] for shard in shards]) for i in range(3))
    assert len(label) == num_images, f"saw {len(label)} images of {num_images}"
    accuracy = Accuracy(
        split="test" if split == "test" else "validation",
        num_images=num_images,
        num_top1=int((best[:, 0] == label).sum()),
        num_top5=int((best == label[:, None]).any(axis=1).sum()),
        num_superclass=sum(shard[3] for shard in shards) if superclass_of else None,
        loss=sum(shard[4] for shard in shards) / num_images,
    )
    return accuracy, Predictions(
        label.astype(np.int16), best.astype(np.int16), sure.astype(np.float32)
    )


def _over_views(scores: torch.Tensor, num_images: int) -> torch.Tensor:
    """The logarithm of the mean probability over the views of each image.

    One view's scores as they are.
    """
    if len(scores) == num_images:
        return scores
    return scores.softmax(dim=1).view(-1, num_images, scores.shape[1]).mean(dim=0).log()


def _membership(superclass_of: Sequence[int], device: torch.device) -> torch.Tensor | None:
    """Which class belongs to which superclass, (classes, superclasses) float32 of ones and zeros."""
    if not superclass_of:
        return None
    return F.one_hot(torch.tensor(superclass_of)).to(device, torch.float32)


def _judge(
    scores: torch.Tensor, labels: torch.Tensor, membership: torch.Tensor | None
) -> tuple[torch.Tensor, ...]:
    """For each image: label, five likeliest classes, confidence, whether the superclass is right, cross entropy."""
    probabilities = scores.softmax(dim=1)
    top5 = scores.topk(min(5, scores.shape[1]), dim=1).indices
    right = torch.zeros_like(labels)
    if membership is not None:
        right = (
            (probabilities @ membership).argmax(dim=1) == membership.argmax(dim=1)[labels]
        ).long()
    loss = F.cross_entropy(scores, labels, reduction="none")
    return labels, top5, probabilities.amax(dim=1), right, loss
