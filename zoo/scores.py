"""What a model must return, checked before it is trained: a score for each class of each image."""

import copy

import torch
from torch import Tensor, nn

from zoo.cost import copy_to_meta

NUM_IMAGES = 2  # batch normalisation can't train on one


def find_wrong_scores(
    model: nn.Module, *, image_size: int, in_channels: int, num_classes: int
) -> str:
    """Say what a model returns instead of (N, num_classes) scores of floating point.

    Empty where nothing is wrong. It is asked in training too, where some networks give more than
    one answer. The model is left as it was; one that can't be run here isn't judged.
    """
    shape = (NUM_IMAGES, in_channels, image_size, image_size)
    for training in (True, False):
        try:
            output = _run(model, shape, training=training)
        except Exception:
            # Training itself will say what is wrong with it.
            return ""
        wrong = _describe_wrong(output, num_classes)
        if wrong:
            return (
                f"returns {wrong}; a model must return one tensor of (images, classes) scores, "
                f"here ({NUM_IMAGES}, {num_classes}) of floating point"
            )
    return ""


def _run(model: nn.Module, shape: tuple[int, ...], *, training: bool) -> object:
    try:
        return copy_to_meta(model).train(training)(torch.empty(shape, device="meta"))
    except Exception:
        # A forward pass that looks at numbers needs some.
        with torch.no_grad(), torch.random.fork_rng(devices=()):
            return copy.deepcopy(model).train(training)(torch.randn(shape))


def _describe_wrong(output: object, num_classes: int) -> str:
    if not isinstance(output, Tensor):
        return f"a {type(output).__name__}"
    if output.shape != (NUM_IMAGES, num_classes):
        return f"a tensor of {tuple(output.shape)} for {NUM_IMAGES} images of {num_classes} classes"
    if not output.is_floating_point():
        return f"a tensor of {output.dtype}"
    return ""
