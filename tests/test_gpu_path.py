"""What is done on GPUs alone, as far as a machine without one can tell.

Oracles: the network before it was converted; torch's own time-out; the calls that torch.cuda gets,
against what its documents say of each; arithmetic.
"""

import dataclasses
import datetime
import multiprocessing
import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from bench.cell import packed
from bench.distributed import hardware, parallel
from bench.distributed.gang import FakeGang
from bench.distributed.process import LAUNCHED
from bench.distributed.roll_call import LATER, patience_of_groups
from bench.distributed.runtime import Interrupted
from bench.measure import memory
from bench.request.command_line import parse
from tests.support.processes import free_port
from zoo import create_model
from zoo.two_tower import place

GPUS = [torch.device("cuda:0"), torch.device("cuda:1")]


@pytest.mark.parametrize("name", ["timm:efficientnet_b0", "tv:resnet18", "timm:densenet121"])
def test_shared_statistics_change_nothing_else_of_a_network(name: str) -> None:
    """Among one process SyncBatchNorm is BatchNorm, so the scores are those from before."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=10).eval()
    images = torch.rand(2, 3, 64, 64)
    kinds = {type(module).__name__ for module in model.modules()}
    expected = model(images)
    shared = parallel.share_norms(model, FakeGang())
    assert torch.equal(shared(images), expected)
    norms = [m for m in shared.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    fused = {type(module).__name__ for module in norms}
    assert ("BatchNormAct2d" in kinds) == ("SyncBatchNormAct" in fused)


def test_a_norm_of_ones_own_is_refused_instead_of_replaced() -> None:
    class Doubled(nn.BatchNorm2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    with pytest.raises(ValueError, match="--sync-batchnorm: 0 is a Doubled") as refusal:
        parallel.share_norms(nn.Sequential(Doubled(3)), FakeGang())
    assert "\n" not in str(refusal.value)


def test_the_roll_is_called_before_nccl_ends_its_process() -> None:
    """NCCL's time begins with the call, gloo's with a later wait: the roll call comes between."""
    timeout = 5.0
    gloo = patience_of_groups(timeout, nccl=False).total_seconds()
    nccl = patience_of_groups(timeout, nccl=True).total_seconds()
    assert gloo == timeout
    assert nccl > gloo + LATER


def _wait_along_the_model_axis(rank: int, port: int, seconds: Any) -> None:
    store = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    patience = datetime.timedelta(seconds=1)
    axes = parallel.find_axes(rank, 2, model_size=2, patience=patience)
    if rank == 1:
        time.sleep(15)  # it never answers
        return
    began = time.monotonic()
    try:
        axes.model.gather_tensors(torch.ones(1))
    except RuntimeError:
        seconds.value = time.monotonic() - began


@pytest.mark.ci
@pytest.mark.distributed
def test_ranks_that_share_a_model_wait_as_long_as_others_do() -> None:
    start = multiprocessing.get_context("spawn")
    seconds, port = start.Value("d", 0.0), free_port()
    ranks = [
        start.Process(target=_wait_along_the_model_axis, args=(rank, port, seconds))
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    ranks[0].join(40)
    for process in ranks:
        process.kill()
        process.join()
    assert 0.5 < seconds.value < 5


def with_gpus(runtime: Any, devices: list[torch.device]) -> Any:
    """Return a runtime whose process says that it computes on these devices."""

    class OnGpus(type(runtime)):  # type: ignore[misc]
        device = devices[0]

    fields = {one.name: getattr(runtime, one.name) for one in dataclasses.fields(runtime)}
    return OnGpus(**(fields | {"other_devices": set(devices[1:])}))


def record_calls(monkeypatch: pytest.MonkeyPatch, name: str, answer: Any = None) -> list[Any]:
    """Replace a function of torch.cuda; returns the devices that it is called for."""
    called: list[Any] = []

    def function(device: torch.device) -> Any:
        called.append(device)
        return answer(device) if answer else None

    monkeypatch.setattr(torch.cuda, name, function)
    return called


def test_all_devices_of_a_model_are_waited_for(
    runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    awaited = record_calls(monkeypatch, "synchronize")
    with_gpus(runtime, GPUS).synchronize()
    assert awaited == GPUS


def test_the_memory_of_a_model_is_that_of_all_its_devices(
    runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, each in (("max_memory_allocated", [5, 7]), ("max_memory_reserved", [6, 9])):
        record_calls(monkeypatch, name, lambda device, each=each: each[device.index])
    found = memory._peaks(with_gpus(runtime, GPUS), before=2)
    assert found["peak_memory_bytes"] == 5 + 7 - 2
    assert (found["device_allocated_bytes"], found["device_reserved_bytes"]) == (12, 15)


def test_models_have_the_room_that_the_data_leaves_on_the_fullest_device(
    runtime: Any, monkeypatch: pytest.MonkeyPatch, tiny_data: Any
) -> None:
    free = [10**9, 10**8]
    record_calls(monkeypatch, "mem_get_info", lambda device: (free[device.index], 2 * 10**9))
    room = memory.room_for_models(with_gpus(runtime, GPUS), tiny_data)
    assert room == memory.USABLE * (10**8 - tiny_data.train.images.nbytes)


@pytest.mark.parametrize(
    ("num_gpus", "devices"), [(0, "cpu cpu"), (1, "cuda:0 cuda:0"), (4, "cuda:0 cuda:1")]
)
def test_towers_go_to_the_gpus_that_there_are(
    monkeypatch: pytest.MonkeyPatch, num_gpus: int, devices: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: num_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    model = create_model("alexnet_two_tower_cifar", num_classes=10)
    placed: list[str] = []
    towers: Any = model.towers
    for tower in towers:
        monkeypatch.setattr(tower, "to", placed.append)
    place(model)
    assert " ".join(placed) == devices


def test_a_packed_cell_gets_one_gpu_and_is_told_how_many_cells_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packed, "num_gpus", lambda: 3)
    outside = dict.fromkeys(LAUNCHED, "theirs") | {"CUDA_VISIBLE_DEVICES": "4,5,GPU-6", "HOME": "/"}
    own = [packed.variables_of_place(place, outside) for place in range(4)]
    assert [one.pop("CUDA_VISIBLE_DEVICES") for one in own] == ["4", "5", "GPU-6", "4"]
    assert own == [{"HOME": "/"}] * 4
    unlisted = packed.variables_of_place(2, {})
    assert unlisted == {"CUDA_VISIBLE_DEVICES": "2"}


def test_cells_that_run_at_once_are_counted_before_a_gpu_is_taken(
    runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[packed.Given] = []

    class EnoughError(Exception):
        pass

    def start(self: Any, cell: Any, given: packed.Given) -> None:
        told.append(given)
        raise EnoughError

    monkeypatch.setattr(hardware, "num_gpus", lambda: 3)
    monkeypatch.setattr(packed.PackedExecutor, "_start", start)
    config = parse(["--recipe", "smoke", "--pack", "--pack-size", "2"])
    context: Any = SimpleNamespace(config=config, runtime=runtime)
    cells: list[Any] = [None] * 9
    with pytest.raises(EnoughError):
        packed.PackedExecutor(context).run(cells)
    assert told[0].num_places == 3 * 2


def test_a_process_by_itself_heeds_a_signal_at_once_and_one_of_several_asks(
    runtime: Any,
) -> None:
    runtime.signum = 15
    dataclasses.replace(runtime, gang=FakeGang()).check_own_signal()
    with pytest.raises(Interrupted):
        runtime.check_own_signal()
