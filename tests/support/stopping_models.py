"""Small networks that signal, slow or kill their own process, for tests of disturbed runs.

STOP_AT=N: SIGTERM at the Nth training pass. SLOW=S: S seconds a pass. MARKS=DIR: from the third
pass on a file there bears the process's number.
"""

import os
import signal
import time
from pathlib import Path

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
