"""Evaluate a model: what it says of every image, counted over all ranks."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.data.loader import Batch
from bench.distributed.runtime import Runtime
from bench.results.record import Accuracy
from bench.train.trainer import Diverged
from zoo.kernel import library_kernels


class Predictions(NamedTuple):
    """What a model said of every image, in canonical order.

    The true class `label` (N,), the five likeliest classes `top5` (N, 5), the probability of the
    likeliest, `confidence` (N,), and every class's `log_probabilities` (N, classes).

    Logarithms, since two bytes then hold what probabilities would lose: a likely class to 0.05 % of
    its distance from 1, an unlikely one (1e-9) to 1 % of itself. Rounding moves the loss of an
    image by at most 1 / 2048 of itself; scores as they come would lose more, by a constant that
    all classes may share.
    """

    label: NDArray[np.signedinteger]
    top5: NDArray[np.signedinteger]
    confidence: NDArray[np.float32]
    log_probabilities: NDArray[np.float16]

    @property
    def predicted(self) -> NDArray[np.signedinteger]:
        return self.top5[:, 0]

    def count_right(self, within: int) -> int:
        """Count the images whose class is among the `within` likeliest (1 to 5)."""
        return int((self.top5[:, :within] == self.label[:, None]).any(axis=1).sum())


class _Answers(NamedTuple):
    """What a model said of a batch's images, on the device; a row an image."""

    labels: Tensor
    top5: Tensor
    confidence: Tensor
    log_probabilities: Tensor
    superclass_is_right: Tensor
    losses: Tensor


class _Share(NamedTuple):
    """What a rank found on its images: a row an image, and two sums over them."""

    label: NDArray[np.signedinteger]
    top5: NDArray[np.signedinteger]
    confidence: NDArray[np.float32]
    log_probabilities: NDArray[np.float16]
    num_superclass: int
    loss_sum: float


def evaluate(
    model: nn.Module,
    batches: Iterator[Batch],
    *,
    split: Literal["train", "validation", "test"],
    num_images: int,
    superclass_of: Sequence[int],
    runtime: Runtime,
) -> tuple[Accuracy, Predictions]:
    """Count right answers over all ranks; asserts that every one of `num_images` was seen once.

    The superclass is the one with the largest sum of probabilities. The loss is the mean cross
    entropy; raises Diverged where it isn't finite.
    """
    model.eval()
    answers: list[_Answers] = []
    membership = None  # of classes in superclasses, (classes, superclasses) float32 of 0 and 1
    if superclass_of:
        membership = F.one_hot(torch.tensor(superclass_of)).to(runtime.device, torch.float32)
    # Fast kernels round a product by the size of its batch, and ranks hold shares of other sizes:
    # the library's give one loss whatever the world is.
    with torch.inference_mode(), library_kernels(model):
        for batch in batches:
            # Several ranks would have to agree to stop, and do so at the next step of training.
            runtime.check_own_signal()
            with runtime.accelerator.autocast():
                scores = model(batch.images).float()
            answers.append(_judge(scores, batch.labels, membership))
    # Of few images a rank may have none, and then doesn't even know how many classes there are.
    own_share = _add_up(answers) if answers else None
    shares = [share for share in runtime.gather_shards(own_share) if share is not None]
    predictions = _join(shares)
    num_superclass = sum(share.num_superclass for share in shares)
    loss = sum(share.loss_sum for share in shares) / num_images
    num_seen = len(predictions.label)
    assert num_seen == num_images, f"saw {num_seen} images of {num_images}"
    if not math.isfinite(loss):
        raise Diverged(f"the loss of the {split} images is not finite")
    accuracy = Accuracy(
        split=split,
        num_images=num_images,
        num_top1=predictions.count_right(1),
        num_top5=predictions.count_right(5),
        num_superclass=num_superclass if superclass_of else None,
        loss=loss,
    )
    return accuracy, predictions


def _join(shares: Sequence[_Share]) -> Predictions:
    """Put the ranks' shares one behind the other."""
    label = np.concatenate([share.label for share in shares])
    top5 = np.concatenate([share.top5 for share in shares])
    confidence = np.concatenate([share.confidence for share in shares])
    # Two bytes hold the classes of nearly every data set.
    classes = np.int16 if max(label.max(), top5.max()) <= np.iinfo(np.int16).max else np.int32
    return Predictions(
        label=label.astype(classes),
        top5=top5.astype(classes),
        confidence=confidence.astype(np.float32),
        log_probabilities=np.concatenate([share.log_probabilities for share in shares]),
    )


def _add_up(answers: Sequence[_Answers]) -> _Share:
    """Put a rank's answers together, in the CPU's memory."""
    columns = [torch.cat(column).cpu().numpy() for column in zip(*answers, strict=True)]
    label, top5, confidence, log_probabilities, superclass_is_right, losses = columns
    return _Share(
        label=label,
        top5=top5,
        confidence=confidence,
        log_probabilities=log_probabilities,
        num_superclass=int(superclass_is_right.sum()),
        # A sum of 10,000 losses in float32 would lose their last digits.
        loss_sum=float(losses.sum(dtype=np.float64)),
    )


def _judge(scores: Tensor, labels: Tensor, membership: Tensor | None) -> _Answers:
    """Compare scores (views * N, classes), view by view, with labels (N,)."""
    if len(scores) > len(labels):
        # Views are averaged as probabilities, by their logarithms: one below 1e-38 would become 0
        # in float32, and its loss infinite.
        views = scores.log_softmax(dim=1).view(-1, len(labels), scores.shape[1])
        scores = views.logsumexp(dim=0) - math.log(len(views))
    probabilities = scores.softmax(dim=1)
    # Least of all that two bytes hold: what lies below would become infinite.
    log_probabilities = scores.log_softmax(dim=1).clamp(min=torch.finfo(torch.float16).min)
    superclass_is_right = torch.zeros_like(labels)
    if membership is not None:
        predicted = (probabilities @ membership).argmax(dim=1)
        expected = membership.argmax(dim=1)[labels]
        superclass_is_right = (predicted == expected).long()
    num_best = min(5, scores.shape[1])  # some data sets have fewer classes than five
    return _Answers(
        labels=labels,
        top5=scores.topk(num_best, dim=1).indices,
        confidence=probabilities.amax(dim=1),
        log_probabilities=log_probabilities.half(),
        superclass_is_right=superclass_is_right,
        losses=F.cross_entropy(scores, labels, reduction="none"),
    )
