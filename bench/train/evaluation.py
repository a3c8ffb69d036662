"""Evaluate a model: what it says of every image, counted over all ranks."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.data.loader import Batch
from bench.distributed.runtime import Interrupted, Runtime
from bench.results.record import Accuracy


class Predictions(NamedTuple):
    """What a model said of every image, in canonical order.

    The true class `label` (N,), the five likeliest classes `top5` (N, 5), and the probability of
    the likeliest, `confidence` (N,).
    """

    label: NDArray[np.int16]
    top5: NDArray[np.int16]
    confidence: NDArray[np.float32]

    @property
    def predicted(self) -> NDArray[np.int16]:
        return self.top5[:, 0]


class _Answers(NamedTuple):
    """What a model said of a batch's images, on the device; a row an image."""

    labels: Tensor
    top5: Tensor
    confidence: Tensor
    superclass_is_right: Tensor
    losses: Tensor


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
    answers: list[_Answers] = []
    membership = _superclass_membership(superclass_of, runtime.device)
    with torch.inference_mode():
        for batch in batches:
            # Several ranks would have to agree to stop, and do so at the next step of training.
            if runtime.world_size == 1 and runtime.signum:
                raise Interrupted(runtime.signum)
            with runtime.accelerator.autocast():
                scores = model(batch.images).float()
            scores = _average_views(scores, len(batch.labels))
            answers.append(_judge(scores, batch.labels, membership))
    columns = [torch.cat(column).cpu().numpy() for column in zip(*answers, strict=True)]
    own_labels, own_top5, own_confidence, superclass_is_right, losses = columns
    num_superclass = int(superclass_is_right.sum())
    loss_sum = float(losses.sum(dtype=np.float64))
    shards = runtime.gather_shards((own_labels, own_top5, own_confidence, num_superclass, loss_sum))
    label, top5, confidence = (np.concatenate([shard[i] for shard in shards]) for i in range(3))
    assert len(label) == num_images, f"saw {len(label)} images of {num_images}"
    accuracy = Accuracy(
        split="test" if split == "test" else "validation",
        num_images=num_images,
        num_top1=int((top5[:, 0] == label).sum()),
        num_top5=int((top5 == label[:, None]).any(axis=1).sum()),
        num_superclass=sum(shard[3] for shard in shards) if superclass_of else None,
        loss=sum(shard[4] for shard in shards) / num_images,
    )
    predictions = Predictions(
        label.astype(np.int16), top5.astype(np.int16), confidence.astype(np.float32)
    )
    return accuracy, predictions


def _average_views(scores: Tensor, num_images: int) -> Tensor:
    """Return the logarithm of each image's mean probabilities over its views, (N, classes).

    `scores` are (views * N, classes), view by view; those of a single view stay as they are.
    """
    if len(scores) == num_images:
        return scores
    probabilities = scores.softmax(dim=1).view(-1, num_images, scores.shape[1])
    return probabilities.mean(dim=0).log()


def _superclass_membership(superclass_of: Sequence[int], device: torch.device) -> Tensor | None:
    """Return which class is in which superclass, (classes, superclasses) float32 of 0 and 1."""
    if not superclass_of:
        return None
    return F.one_hot(torch.tensor(superclass_of)).to(device, torch.float32)


def _judge(scores: Tensor, labels: Tensor, membership: Tensor | None) -> _Answers:
    """Compare scores (N, classes) with labels (N,)."""
    probabilities = scores.softmax(dim=1)
    superclass_is_right = torch.zeros_like(labels)
    if membership is not None:
        predicted = (probabilities @ membership).argmax(dim=1)
        expected = membership.argmax(dim=1)[labels]
        superclass_is_right = (predicted == expected).long()
    return _Answers(
        labels=labels,
        top5=scores.topk(min(5, scores.shape[1]), dim=1).indices,
        confidence=probabilities.amax(dim=1),
        superclass_is_right=superclass_is_right,
        losses=F.cross_entropy(scores, labels, reduction="none"),
    )
