"""Memory of training one model, by kind, in a process that does nothing else.

    python -m bench.measure.memory < request.json      prints {"peak_memory_bytes": N, "parameter_bytes": N, …}

On a CPU the peak is that of resident memory (Linux's VmHWM, set back before the model is built)
less what was resident after the imports and one tiny training step, which brings in what torch
loads late. On a GPU it is the peak allocated. The fresh processes of several ranks make a world of
their own, and share the model or its gradients as in training.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.distributed.process import LAUNCHED, PLACE, die_with_parent
from bench.request.config import from_json

if TYPE_CHECKING:
    import torch

    from bench.data.loader import Batch
    from bench.distributed.runtime import Runtime
    from bench.train.trainer import Learner

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import psutil
import torch

from bench.distributed.runtime import Runtime
from bench.request.config import RunConfig
from bench.results.metric import MEMORY, list_metrics
from bench.results.record import Measurement, RunRecord, make_measurement
from bench.results.step_memory import estimate_recorded_step
from bench.train.build import RunContext, memory_request
from zoo.spec import ModelSpec

STEPS = 3


def memory_by_kind(request: dict[str, object], *, port: int | None = None) -> dict[str, int] | str:
    """Run a request (config, model, num_classes, in_channels, image_size, batch_size) in a fresh process.

    The fresh processes of all ranks meet at `port` of the first rank's machine. Returns bytes by
    metric, less those that this machine can't tell; or in one line why there are none.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bench.measure.memory"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        env=_environment(port),
        cwd=Path(__file__).parents[2],
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return last[0]
    return {name: int(value) for name, value in json.loads(done.stdout).items()}


def _environment(port: int | None) -> dict[str, str]:
    """This process's environment, less what would make a fresh one join this world.

    At `port` it joins its own.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in LAUNCHED or (port and name in PLACE)
    }
    kept["OMP_WAIT_POLICY"] = "passive"  # it isn't timed, and may share the cores with another
    return kept if port is None else kept | {"MASTER_PORT": str(port)}


def main() -> None:
    """Read a request from standard input, train a few steps, print the peak."""
    die_with_parent()
    request = json.load(sys.stdin)
    from bench.distributed.runtime import Runtime
    from bench.train.build import build_learner, prepare_learner
    from bench.train.step import build_tiny_network
    from zoo.registry import create_model, resolve

    config = from_json(request["config"])
    with Runtime.start(config) as runtime:
        tiny = build_tiny_network().to(runtime.device)
        learner = build_learner(tiny, config=config, peak=1e-4, seed=0, runtime=runtime)
        _train(learner, config.accumulate, (3, 8, 8))
        before = _start_watch(runtime)
        name, num_classes = request["model"], request["num_classes"]
        learner = prepare_learner(
            create_model(name, num_classes=num_classes),
            resolve(name, num_classes=num_classes),
            config=config,
            peak=1e-4,
            seed=0,
            runtime=runtime,
        )
        size = request["image_size"]
        batch = _train(learner, request["batch_size"], (request["in_channels"], size, size))
        print(json.dumps(_peaks(runtime, before) | _kinds(learner, batch)))


def _train(learner: "Learner", num_images: int, shape: tuple[int, int, int]) -> "Batch":
    """Take a few training steps on a batch of noise, and return it."""
    from bench.train.step import noise_batch

    runtime = learner.runtime
    batch = noise_batch(num_images, shape, config=learner.config, device=runtime.device)
    for step in range(STEPS):
        learner.step(batch, step=step, rate=1e-4)
    runtime.synchronize()
    return batch


def _kinds(learner: "Learner", batch: "Batch") -> dict[str, int]:
    """What a step holds: weights, gradients, the optimiser's state, and what a forward pass keeps for the backward one.

    Counted from the tensors themselves, each storage once; of the micro-batches of a step, the
    largest is held at once. The model runs as it is written: compiled, it may keep less.
    """
    import torch
    import torch.nn.functional as F

    own = {
        t.untyped_storage().data_ptr()
        for t in (*learner.bare.parameters(), *learner.bare.buffers())
    }
    kept: dict[int, int] = {}

    def keep(tensor: "torch.Tensor") -> "torch.Tensor":
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    rows = slice(-(-len(batch.labels) // learner.config.accumulate))
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        learner.runtime.accelerator.autocast(),
    ):
        loss = F.cross_entropy(learner.bare(batch.images[rows]), batch.labels[rows])
    activations = sum(kept.values())
    loss.backward()  # type: ignore[no-untyped-call]
    states = [value for state in learner.optimizer.state.values() for value in state.values()]
    return {
        "parameter_bytes": sum(p.nbytes for p in learner.bare.parameters()),
        "gradient_bytes": sum(
            p.grad.nbytes for p in learner.bare.parameters() if p.grad is not None
        ),
        "optimizer_bytes": sum(value.nbytes for value in states if isinstance(value, torch.Tensor)),
        "activation_bytes": activations,
    }


def _start_watch(runtime: "Runtime") -> int:
    """Set the peak back and return what is there before the model."""
    import torch

    if runtime.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(runtime.device)
        return torch.cuda.memory_allocated(runtime.device)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS")


def _peaks(runtime: "Runtime", before: int) -> dict[str, int]:
    """The peak of training, of the process and, on a GPU, of what was allocated and reserved."""
    import torch

    resident = _status("VmHWM")
    if runtime.device.type != "cuda":
        return {"peak_memory_bytes": resident - before, "process_peak_bytes": resident}
    allocated = torch.cuda.max_memory_allocated(runtime.device)
    return {
        "peak_memory_bytes": allocated - before,
        "process_peak_bytes": resident,
        "device_allocated_bytes": allocated,
        "device_reserved_bytes": torch.cuda.max_memory_reserved(runtime.device),
    }


def _status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"this kernel tells no {name}")


if __name__ == "__main__":
    main()


ROOM = 0.7  # of the memory that is free


class Need(NamedTuple):
    """Bytes: what a model keeps between its visits, what it needs more during a step, and for an image forward."""

    kept: float
    step: float
    forward: float


def need_of(record: RunRecord, config: RunConfig, runtime: Runtime) -> Need:
    """Work out from a model's layers what it needs on one rank."""
    outputs = [layer.activation_bytes for layer in record.layers]
    images = record.batch_size / runtime.data_size / config.accumulate
    memory = estimate_recorded_step(record, num_images=images)
    return Need(memory.model_bytes, memory.batch_bytes, 3 * max(outputs, default=0))


def room_for(runtime: Runtime) -> float:
    """Bytes that a rank may use; the least of all ranks."""
    if runtime.device.type == "cuda":
        own = float(torch.cuda.mem_get_info(runtime.device)[0])
    else:
        own = psutil.virtual_memory().available / runtime.world.local_size
    return ROOM * min(runtime.gather(own))


def fit_together(needs: Mapping[str, Need], room: float) -> list[tuple[str, ...]]:
    """Groups of models in their order, each with the first model of all.

    One that fits nowhere is with it alone.
    """
    reference, *others = needs
    # The reference is there twice, as its own opponent; only one model takes a step at a time.
    base = 2 * needs[reference].kept
    groups: list[list[str]] = [[reference]]
    kept, step = base, needs[reference].step
    for model in others:
        need = needs[model]
        if len(groups[-1]) > 1 and kept + need.kept + max(step, need.step) > room:
            groups.append([reference])
            kept, step = base, needs[reference].step
        groups[-1].append(model)
        kept, step = kept + need.kept, max(step, need.step)
    return [tuple(group) for group in groups]


def measure_memory(
    models: Sequence[tuple[ModelSpec, RunContext]], missing: dict[str, str]
) -> dict[str, tuple[Measurement, ...]]:
    """Bytes by kind of every model; what can't be had is named in `missing`, with its cause."""
    if not models:
        return {}
    runtime = models[0][1].runtime
    runtime.check_signal()
    # Two at once where there is one rank: what one is given doesn't change the other's peak, and
    # most of it is imports.
    with ThreadPoolExecutor(2 if runtime.world_size == 1 else 1) as pool:
        requests = [
            (memory_request(spec, context), runtime.meeting_port()) for spec, context in models
        ]
        own = list(pool.map(lambda asked: memory_by_kind(asked[0], port=asked[1]), requests))
    found = {}
    for (spec, _), outcomes in zip(models, zip(*runtime.gather(own), strict=True), strict=True):
        causes = [outcome for outcome in outcomes if isinstance(outcome, str)]
        if causes:
            missing[f"{spec.name} memory"] = causes[0]
            continue
        found[spec.name] = _measurements(
            [outcome for outcome in outcomes if isinstance(outcome, dict)]
        )
    if runtime.device.type != "cuda" and found:
        missing["device memory"] = "the models ran on a CPU"
    return found


def _measurements(ranks: Sequence[dict[str, int]]) -> tuple[Measurement, ...]:
    return tuple(
        make_measurement(metric.name, [(float(rank[metric.name]),) for rank in ranks])
        for metric in list_metrics(MEMORY)
        if all(metric.name in rank for rank in ranks)
    )
