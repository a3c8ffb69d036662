"""What a training step holds in memory, estimated from counts. No torch."""

from typing import NamedTuple

from bench.results.record import RunRecord

FLOAT_BYTES = 4  # float32: weights stay so under every precision

# Tensors of a weight's size that an optimiser keeps beside it: momentum, or Adam's two moments.
STATE_COPIES = {"sgd": 1, "momentum": 1, "adam": 2, "adamw": 2}
# Of timm's other optimisers most keep Adam's two moments and some (lion, adafactor) fewer, so this
# errs towards too much.
ASSUMED_STATE_COPIES = 2
USUAL_MOMENTUM = 0.9  # of records from before their config said it


class StepMemory(NamedTuple):
    """Bytes that a training step holds, by kind."""

    weights: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def model_bytes(self) -> float:
        """Return what is there whatever the batch is."""
        return self.weights + self.gradients + self.optimizer

    @property
    def batch_bytes(self) -> float:
        """Return what grows with the batch: every layer's output, and at most its gradient too."""
        return 2 * self.activations

    @property
    def total_bytes(self) -> float:
        """Return all of it, at the peak of a step."""
        return self.model_bytes + self.batch_bytes


def estimate_step_memory(
    *,
    num_parameters: int,
    activation_bytes: float,
    optimizer: str | None,
    momentum: float,
) -> StepMemory:
    """Estimate a step in float32 with every layer's output kept for the backward pass.

    `activation_bytes` are those of all images that a rank holds at once, which is a micro-batch.
    Without a name the optimiser is sgd, which keeps nothing where `momentum` is 0.
    """
    name = optimizer or "sgd"
    copies = STATE_COPIES.get(name, ASSUMED_STATE_COPIES)
    if name in ("sgd", "momentum") and momentum == 0:
        copies = 0
    weights = float(FLOAT_BYTES * num_parameters)
    return StepMemory(
        weights=weights,
        gradients=weights,
        optimizer=copies * weights,
        activations=activation_bytes,
    )


def estimate_recorded_step(record: RunRecord, *, num_images: float) -> StepMemory:
    """Estimate a step of a record's model on `num_images` that a rank holds at once."""
    config = record.config
    optimizer = config.get("optimizer")
    momentum = config.get("momentum", USUAL_MOMENTUM)
    return estimate_step_memory(
        num_parameters=record.num_local_parameters or record.num_parameters or 0,
        activation_bytes=num_images * sum(layer.activation_bytes for layer in record.layers),
        optimizer=None if optimizer is None else str(optimizer),
        momentum=momentum if isinstance(momentum, int | float) else USUAL_MOMENTUM,
    )
