"""The paper's recipe on real images.

Oracle: the entropy of the labels, which a network that sees nothing can't beat.

Trained with plain SGD, AlexNet stays at chance for a while, and many ports never leave it. The 32
px form starts from weights of its own (`init="he"`): from the paper's it hasn't left chance after
260 such steps (LAB.md).
"""

import dataclasses
import math
import os
from pathlib import Path

import numpy as np
import pytest

from bench.data.dataset import open_dataset
from bench.distributed.runtime import Runtime
from bench.request.recipe import paper_cifar
from bench.train.build import RunContext, build_learner, build_loader, build_model
from bench.train.trainer import Hooks, Progress, fit
from zoo.registry import resolve

CLASSES = (0, 20, 53, 71)  # apples, chairs, oranges, sea
IMAGES_OF_CLASS = 100
NAME = "alexnet_two_tower_cifar"


@pytest.mark.skipif(
    not os.environ.get("ZOOMETRY_DATA"),
    reason="ZOOMETRY_DATA doesn't name a folder with the real CIFAR-100",
)
@pytest.mark.ci
def test_the_papers_recipe_leaves_chance_on_real_images(runtime: Runtime) -> None:
    whole = open_dataset("cifar100", None)
    rows = [np.flatnonzero(whole.train.labels == label)[:IMAGES_OF_CLASS] for label in CLASSES]
    data = dataclasses.replace(whole, train_indices=np.concatenate(rows))
    config = dataclasses.replace(paper_cifar(), batch_size=32, epochs=5)
    assert config.lr is not None
    context = RunContext(config, data, runtime, Path(), {})
    spec = resolve(NAME)
    learner = build_learner(
        build_model(spec, 0, context), config=config, peak=config.lr, seed=0, runtime=runtime
    )
    hooks = Hooks(lambda progress: None, lambda share, progress: None)
    losses = [
        row.train_loss for row in fit(learner, build_loader(spec, 0, context), Progress(), hooks)
    ]
    assert losses[0] > math.log(len(CLASSES))
    assert losses[-1] < 0.75 * math.log(len(CLASSES)), losses
