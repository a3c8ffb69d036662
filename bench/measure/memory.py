"""Memory of training one model, by kind, in a process that does nothing else.

    python -m bench.measure.memory < request.json      prints {"peak_memory_bytes": N, …}

On a CPU the peak is that of resident memory (Linux's VmHWM, set back before the model is built)
less what was resident after the imports and one tiny training step, which brings in what torch
loads late. On a GPU it is the peak allocated. The fresh processes of several ranks make a world of
their own, and share the model or its gradients as in training.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
import torch.nn.functional as F
from torch import nn

from bench.data.dataset import Dataset
from bench.data.loader import Batch
from bench.data.pixels import count_uploaded_bytes
from bench.distributed.process import LAUNCHED, PLACE, die_with_parent
from bench.distributed.runtime import Runtime
from bench.request.config import RunConfig, from_json
from bench.results.metric import MEMORY, list_metrics
from bench.results.record import Measurement, RunRecord, make_measurement
from bench.results.step_memory import estimate_recorded_step
from bench.train.build import RunContext, build_learner, make_memory_request, prepare_learner
from bench.train.feature import count_batch
from bench.train.step import build_tiny_network, make_noise_batch
from bench.train.trainer import Learner
from zoo.registry import create_model, resolve
from zoo.spec import STEPS, ModelSpec

NUM_STEPS = 3  # the optimiser's state is there from the first one on
TINY_RATE = 1e-4
USABLE = 0.7  # of the memory that is free


class Need(NamedTuple):
    """Bytes that a model keeps between its visits, needs more in a step, and an image forward."""

    kept: float
    step: float
    forward: float


def estimate_need(record: RunRecord, config: RunConfig, runtime: Runtime) -> Need:
    """Estimate from a model's layers what it needs on one rank."""
    num_images = record.batch_size / runtime.data_size / config.accumulate
    memory = estimate_recorded_step(record, num_images=num_images)
    # A layer's input, its output and what it works with, each at most the largest output.
    largest = max((layer.activation_bytes for layer in record.layers), default=0)
    return Need(memory.model_bytes, memory.batch_bytes, 3 * largest)


def room_for_models(runtime: Runtime, data: Dataset) -> float:
    """Return the bytes that a rank may use beside the data; the least of all ranks."""
    if runtime.device.type == "cuda":
        # What torch keeps for later would count as taken.
        runtime.release_memory()
        free = float(min(torch.cuda.mem_get_info(device)[0] for device in runtime.devices))
        free -= count_uploaded_bytes(data.train.images, runtime.device)
    else:
        free = psutil.virtual_memory().available / runtime.world.local_size
    return USABLE * min(runtime.gather(free))


def fit_together(needs: Mapping[str, Need], room: float) -> list[tuple[str, ...]]:
    """Return groups of models in their order, each with the first model of all.

    One that fits nowhere is with it alone.
    """
    reference, *others = needs
    # The reference is there twice, as its own opponent; only one model takes a step at a time.
    base = 2 * needs[reference].kept
    groups: list[list[str]] = [[reference]]
    kept, step = base, needs[reference].step
    for model in others:
        need = needs[model]
        fits = kept + need.kept + max(step, need.step) <= room
        if len(groups[-1]) > 1 and not fits:
            groups.append([reference])
            kept, step = base, needs[reference].step
        groups[-1].append(model)
        kept += need.kept
        step = max(step, need.step)
    return [tuple(group) for group in groups]


def measure_memory(
    models: Sequence[tuple[ModelSpec, RunContext]], missing: dict[str, str]
) -> dict[str, tuple[Measurement, ...]]:
    """Measure the bytes by kind of every model.

    What can't be had is named in `missing`, with its cause.
    """
    if not models:
        return {}
    runtime = models[0][1].runtime
    runtime.check_signal()
    requests = [make_memory_request(spec, context) for spec, context in models]
    ports = [runtime.meeting_port() for _ in models]
    # Two at once where there is one rank: what one is given doesn't change the other's peak, and
    # most of it is imports. A GPU may not have the memory for both.
    on_gpu = runtime.device.type == "cuda"
    num_at_once = 1 if on_gpu else runtime.gang.unasked(2, otherwise=1)
    with ThreadPoolExecutor(num_at_once) as pool:
        own = list(pool.map(request_memory, requests, ports))
    found = {}
    every_rank = zip(*runtime.gather(own), strict=True)
    for (spec, _), outcomes in zip(models, every_rank, strict=True):
        causes = [outcome for outcome in outcomes if isinstance(outcome, str)]
        if causes:
            missing[f"{spec.name} memory"] = causes[0]
        else:
            # A CPU has no device bytes: what a rank lacks isn't measured.
            found[spec.name] = tuple(
                make_measurement(metric.name, [(float(rank[metric.name]),) for rank in outcomes])
                for metric in list_metrics(MEMORY)
                if all(metric.name in rank for rank in outcomes)
            )
    if runtime.device.type != "cuda" and found:
        missing["device memory"] = "the models ran on a CPU"
    return found


def request_memory(request: Mapping[str, object], port: int | None = None) -> dict[str, int] | str:
    """Run a request (`build.make_memory_request`) in a fresh process.

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
        lines = done.stderr.strip().splitlines()
        return lines[-1] if lines else f"exit code {done.returncode}"
    return {name: int(value) for name, value in json.loads(done.stdout).items()}


def _environment(port: int | None) -> dict[str, str]:
    """Return this process's environment, less what would make a fresh one join this world.

    At `port` it joins its own.
    """
    dropped = LAUNCHED if port is None else set(LAUNCHED) - set(PLACE)
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    kept["OMP_WAIT_POLICY"] = "passive"  # it isn't timed, and may share the cores with another
    if port is not None:
        kept["MASTER_PORT"] = str(port)
    return kept


def main() -> None:
    """Read a request from standard input, train a few steps, print bytes by metric."""
    die_with_parent()
    request = json.load(sys.stdin)
    config = from_json(request["config"])
    with Runtime.start(config) as runtime:
        tiny = build_tiny_network().to(runtime.device)
        learner = build_learner(tiny, config=config, peak=TINY_RATE, seed=0, runtime=runtime)
        _train(learner, config.accumulate, (3, 8, 8))
        # The training set lies on a GPU as well: it is the process's, not the model's.
        stored = torch.empty(request["uploaded_bytes"], dtype=torch.uint8, device=runtime.device)
        before = _reset_peak(runtime)
        name, num_classes = request["model"], request["num_classes"]
        spec = resolve(name, num_classes=num_classes)
        size = request["image_size"]
        shape = (request["in_channels"], size, size)
        if spec.learner != STEPS or not config.takes_steps:
            model = create_model(name, num_classes=num_classes)
            placed = runtime.place_model(model, spec.parallelise)
            _look(placed, config, runtime, shape)
            weights = sum(parameter.nbytes for parameter in placed.parameters())
            print(json.dumps(_peaks(runtime, before) | {"parameter_bytes": weights}))
            return
        # No name for the whole model here: where ranks share it, it would be held beside its part.
        learner = prepare_learner(
            create_model(name, num_classes=num_classes),
            spec,
            config=config,
            peak=TINY_RATE,
            seed=0,
            runtime=runtime,
        )
        batch = _train(learner, request["batch_size"], shape)
        # The peaks first: counting the kinds takes a step of its own.
        peaks = _peaks(runtime, before)
        del stored
        print(json.dumps(peaks | _count_kinds(learner, batch)))


def _look(
    model: nn.Module, config: RunConfig, runtime: Runtime, shape: tuple[int, int, int]
) -> None:
    """Look at a few batches of noise, as a network whose features are computed."""
    num_images = count_batch(shape[-1], runtime.device)
    batch = make_noise_batch(num_images, shape, config=config, device=runtime.device)
    model.eval()
    with torch.inference_mode(), runtime.accelerator.autocast():
        for _ in range(NUM_STEPS):
            model(batch.images)
    runtime.synchronize()


def _train(learner: Learner, num_images: int, shape: tuple[int, int, int]) -> Batch:
    """Take a few training steps on a batch of noise, and return it."""
    runtime = learner.runtime
    batch = make_noise_batch(num_images, shape, config=learner.config, device=runtime.device)
    for step in range(NUM_STEPS):
        learner.step(batch, step=step, rate=TINY_RATE)
    runtime.synchronize()
    return batch


def _count_kinds(learner: Learner, batch: Batch) -> dict[str, int]:
    """Count what a step holds: weights, gradients, the optimiser's state, and activations.

    The last are what a forward pass keeps for the backward one. Counted from the tensors
    themselves, each storage once; of the micro-batches of a step, the largest is held at once. The
    model runs as it is written: compiled, it may keep less.
    """
    model = learner.bare
    parameters = list(model.parameters())
    own = {tensor.untyped_storage().data_ptr() for tensor in (*parameters, *model.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    # Rounded up: the largest micro-batch.
    rows = slice(-(-len(batch.labels) // learner.config.accumulate))
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        learner.runtime.accelerator.autocast(),
    ):
        loss = F.cross_entropy(model(batch.images[rows]), batch.labels[rows])
    activations = sum(kept.values())
    loss.backward()  # type: ignore[no-untyped-call]
    states = 0
    for state in learner.optimizer.state.values():
        states += sum(value.nbytes for value in state.values() if isinstance(value, torch.Tensor))
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return {
        "parameter_bytes": sum(parameter.nbytes for parameter in parameters),
        "gradient_bytes": sum(gradient.nbytes for gradient in gradients),
        "optimizer_bytes": states,
        "activation_bytes": activations,
    }


def _reset_peak(runtime: Runtime) -> int:
    """Set the peak back and return the bytes that are there before the model."""
    if runtime.device.type == "cuda":
        # Another device of a model has nothing yet.
        torch.cuda.reset_peak_memory_stats(runtime.device)
        return torch.cuda.memory_allocated(runtime.device)
    # 5 sets VmHWM back (proc(5)); getrusage's ru_maxrss can't be, and is inherited.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _read_status("VmRSS")


def _peaks(runtime: Runtime, before: int) -> dict[str, int]:
    """Return the peak of training, of the process and, on a GPU, of what torch held of it."""
    resident = _read_status("VmHWM")
    if runtime.device.type != "cuda":
        return {"peak_memory_bytes": resident - before, "process_peak_bytes": resident}
    allocated = sum(torch.cuda.max_memory_allocated(device) for device in runtime.devices)
    reserved = sum(torch.cuda.max_memory_reserved(device) for device in runtime.devices)
    return {
        "peak_memory_bytes": allocated - before,
        "process_peak_bytes": resident,
        "device_allocated_bytes": allocated,
        "device_reserved_bytes": reserved,
    }


def _read_status(name: str) -> int:
    """Read a line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"this kernel tells no {name}")


if __name__ == "__main__":
    main()
