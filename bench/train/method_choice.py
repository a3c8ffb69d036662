"""Which method a cell learns by: the table, and the one question about it."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from bench.train.build import RunContext
from bench.train.head_method import start_head_method
from bench.train.method import LearningMethod
from bench.train.step_method import start_step_method
from zoo.spec import ModelSpec

# Takes a built model that isn't on its device yet, its spec, its seed, the run, and the folder of
# what an interrupted start leaves.
Start = Callable[[nn.Module, ModelSpec, int, RunContext, Path], LearningMethod]
METHODS: dict[str, Start] = {
    "all": start_step_method,
    "head": start_head_method,
    "head+all": start_head_method,
}


def start_method(
    model: nn.Module, spec: ModelSpec, seed: int, context: RunContext, checkpoints: Path
) -> LearningMethod:
    """Make a built model ready to learn, by the method that the request names."""
    return METHODS[context.config.train](model, spec, seed, context, checkpoints)
