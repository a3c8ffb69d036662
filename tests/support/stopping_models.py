"""Small networks that signal, slow or kill their own process, for tests of disturbed runs.

STOP_AT=N: SIGTERM at the Nth training pass, of which the check of scores is the first. SLOW=S: S
seconds a pass. MARKS=DIR: from the third pass on a file there bears the process's number.
"""

import os
import signal
import time
from pathlib import Path

import torch
from torch import Tensor, nn

image_size = 32


class Stopping(nn.Sequential):
    passes = 0
    deadly = False

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.passes += 1
            self._disturb()
        scores: Tensor = super().forward(images)
        return scores

    def _disturb(self) -> None:
        if self.passes == int(os.environ.get("STOP_AT", 0)):
            os.kill(os.getpid(), signal.SIGTERM)
        if self.deadly and self.passes == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if "MARKS" in os.environ and self.passes == 3:
            (Path(os.environ["MARKS"]) / str(os.getpid())).touch()
        time.sleep(float(os.environ.get("SLOW", 0)))


def norm(num_classes: int = 10) -> nn.Module:
    """Build a network with batch normalisation and dropout."""
    body = [
        nn.Conv2d(3, 8, 3, 2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
    ]
    return Stopping(*body, nn.Flatten(), nn.Dropout(0.3), nn.Linear(784, num_classes))


def plain(num_classes: int = 10) -> nn.Module:
    """Build a network with neither."""
    return Stopping(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(1800, num_classes))


def deadly(num_classes: int = 10) -> nn.Module:
    """Build a network that kills its process outright at the third training pass."""
    model = plain(num_classes)
    assert isinstance(model, Stopping)
    model.deadly = True
    return model


class Idle(nn.Module):
    """A network with a layer that no step uses, and one that every other micro-batch uses."""

    def __init__(self, num_classes: int, *, branches: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(1800, num_classes)
        self.other = nn.Linear(1800, num_classes)
        self.idle = nn.Linear(1800, num_classes)
        self.branches = branches

    def forward(self, images: Tensor) -> Tensor:
        features = self.body(images)
        scores: Tensor = self.head(features)
        # torch is seeded by the step and the micro-batch, so that every world draws the same.
        if self.branches and torch.initial_seed() % 2:
            scores = scores + self.other(features)
        return scores


def idle(num_classes: int = 10) -> nn.Module:
    """Build a network with two layers that get no gradient."""
    return Idle(num_classes, branches=False)


def branching(num_classes: int = 10) -> nn.Module:
    """Build one that uses a layer in about every other micro-batch."""
    return Idle(num_classes, branches=True)
