"""Every quantity that a comparison measures.

Its unit, which way is better, and how ranks are merged. No torch.
"""

from typing import Literal, NamedTuple


class Metric(NamedTuple):
    """Unit, direction and way of merging ranks.

    `per_batch` where it is a rate of a batch's images.
    """

    unit: str
    better: Literal["higher", "lower"]
    merge: Literal["slowest", "largest", "sum"]
    per_batch: bool = False


METRICS = {
    # of a training step
    "train_images_per_second": Metric("images/s", "higher", "slowest", True),
    "train_step_images_per_second": Metric("images/s", "higher", "slowest", True),
    "unsynced_step_images_per_second": Metric(
        "images/s", "higher", "slowest", True
    ),  # without gradient exchange
    "loader_images_per_second": Metric("images/s", "higher", "slowest", True),
    # of a forward pass
    "infer_images_per_second": Metric("images/s", "higher", "slowest", True),
    "sweep_images_per_second": Metric("images/s", "higher", "slowest", True),  # at growing batches
    "latency_ms": Metric("ms", "lower", "slowest"),
    # once a model
    "first_step_seconds": Metric(
        "s", "lower", "slowest"
    ),  # from nothing to the end of the first training step
    "compile_seconds": Metric("s", "lower", "slowest"),  # of that, what later steps don't take
    "energy_joules_per_image": Metric("J", "lower", "sum"),
    # memory, each rank in a fresh process
    "exchanged_bytes": Metric(
        "bytes", "lower", "largest"
    ),  # sent in a step to those that share the model
    "peak_memory_bytes": Metric(
        "bytes", "lower", "largest"
    ),  # of training, less what was there before
    "parameter_bytes": Metric("bytes", "lower", "largest"),
    "gradient_bytes": Metric("bytes", "lower", "largest"),
    "optimizer_bytes": Metric("bytes", "lower", "largest"),
    "activation_bytes": Metric("bytes", "lower", "largest"),  # kept for the backward pass
    "process_peak_bytes": Metric(
        "bytes", "lower", "largest"
    ),  # resident, with interpreter and libraries
    "device_allocated_bytes": Metric("bytes", "lower", "largest"),
    "device_reserved_bytes": Metric("bytes", "lower", "largest"),
    # of the machine
    "matmul_flops_per_second": Metric("FLOP/s", "higher", "sum"),
    "copy_bytes_per_second": Metric("bytes/s", "higher", "sum"),
}
MEMORY = tuple(name for name in METRICS if name.endswith("_bytes"))
