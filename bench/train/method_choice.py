"""Which method a cell learns by: the table, and the questions about it."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from bench.request.config import RunConfig
from bench.train.build import RunContext
from bench.train.head_method import start_head_method
from bench.train.method import LearningMethod
from bench.train.once_method import start_once_method
from bench.train.step_method import start_step_method
from zoo.spec import ONCE, STEPS, ModelSpec

# Takes a built model that isn't on its device yet, its spec, its seed, the run, and the folder of
# what an interrupted start leaves.
Start = Callable[[nn.Module, ModelSpec, int, RunContext, Path], LearningMethod]
# By a spec's learner; of those that learn by steps, by what `--train` says.
METHODS: dict[str, Start] = {
    "all": start_step_method,
    "head": start_head_method,
    "head+all": start_head_method,
    ONCE: start_once_method,
}


def start_method(
    model: nn.Module, spec: ModelSpec, seed: int, context: RunContext, checkpoints: Path
) -> LearningMethod:
    """Make a built model ready to learn, in its own way or by the method that the request names."""
    name = context.config.train if spec.learner == STEPS else spec.learner
    return METHODS[name](model, spec, seed, context, checkpoints)


def takes_steps(spec: ModelSpec, config: RunConfig) -> bool:
    """Return whether a model learns by steps, which epochs and seconds are budgets of."""
    return spec.learner == STEPS and config.takes_steps
