"""AlexNet's two towers: on two devices, two processes, a mesh of four; weights between the forms.

Oracles: the same tower modules run in a loop by one process (equal to the bit over 20 training
steps in float32), the grouped network (within 1e-12 in float64), and the closed formula of the
bytes that cross. He initialisation, since torch's own hides differences, and momentum, so that
every step builds on the ones before.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel

from zoo import create_model
from zoo.alexnet import AlexNet, AlexNetForm, join_towers
from zoo.tower import OneWeirdTrick, SharedAlexNet, one_weird_trick, tower_of_mesh
from zoo.two_tower import TwoTower, load, place, take_tower
from zoo.weights import load_pretrained

NUM_STEPS = 20
BATCH = 8
SMALL = {"widths": (8, 16, 24, 24, 16), "hidden": 32, "init": "he"}
State = dict[str, Tensor]


def build(
    name: str, dtype: torch.dtype = torch.float32, num_classes: int = 5, **switches: Any
) -> nn.Module:
    """Build a small network of the full shape, channels-last, the same weights every time."""
    torch.manual_seed(1)
    model = create_model(name, num_classes=num_classes, **{**SMALL, **switches})
    return model.to(dtype=dtype, memory_format=torch.channels_last).train()


def batch(
    step: int, dtype: torch.dtype, num_images: int = BATCH, num_classes: int = 5
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(num_images, 3, 32, 32, generator=generator).to(dtype)
    labels = torch.randint(num_classes, (num_images,), generator=generator)
    return images.contiguous(memory_format=torch.channels_last), labels


def train(
    model: nn.Module,
    dtype: torch.dtype = torch.float32,
    *,
    rows: Callable[[int], list[slice]] = lambda n: [slice(0, n)],
    num_steps: int = NUM_STEPS,
) -> list[float]:
    """Train on micro-batches of the given rows, each with the step's dropout.

    Return the first one's losses.
    """
    optimizer = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
    losses = []
    for step in range(num_steps):
        images, labels = batch(step, dtype)
        optimizer.zero_grad()
        parts = rows(len(images))
        for i, part in enumerate(parts):
            torch.manual_seed(step)  # dropout by counting
            loss = nn.functional.cross_entropy(model(images[part]), labels[part]) / len(parts)
            loss.backward()
            if i == 0:
                losses.append(loss.item() * len(parts))
        optimizer.step()
    return losses


def assert_equal(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


def test_two_towers_start_with_the_grouped_networks_weights() -> None:
    grouped, towers = build("alexnet_grouped_cifar"), build("alexnet_two_tower_cifar")
    assert isinstance(towers, TwoTower)
    assert_equal(towers.grouped_state(), grouped.state_dict())


@pytest.mark.parametrize("name", ["alexnet_two_tower", "alexnet_two_tower_cifar"])
def test_looped_towers_equal_the_grouped_network(name: str) -> None:
    side = 32 if name.endswith("cifar") else 224
    grouped, towers = (
        build(name.replace("two_tower", "grouped"), torch.float64),
        build(name, torch.float64),
    )
    images = torch.randn(2, 3, side, side, dtype=torch.float64)
    results = []
    for model in (grouped, towers):
        torch.manual_seed(3)
        scores = model(images)
        scores.square().sum().backward()
        results.append(scores)
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)


def test_looped_towers_equal_the_grouped_network_over_training() -> None:
    grouped, towers = (
        build("alexnet_grouped_cifar", torch.float64),
        build("alexnet_two_tower_cifar", torch.float64),
    )
    assert isinstance(towers, TwoTower)
    start = {name: tensor.clone() for name, tensor in grouped.state_dict().items()}
    assert train(grouped, torch.float64) == pytest.approx(train(towers, torch.float64), abs=1e-12)
    for name, tensor in towers.grouped_state().items():
        torch.testing.assert_close(tensor, grouped.state_dict()[name], rtol=1e-12, atol=1e-12)
        assert not torch.equal(tensor, start[name])


def test_towers_on_two_devices_equal_the_looped_towers_to_the_bit() -> None:
    """Two GPUs where there are two, else the CPU twice."""
    looped, placed = build("alexnet_two_tower_cifar"), place(build("alexnet_two_tower_cifar"))
    assert train(looped, num_steps=5) == train(placed, num_steps=5)
    assert_equal(placed.state_dict(), looped.state_dict())


def test_place_moves_each_tower_to_its_own_device() -> None:
    model = place(build("alexnet_two_tower_cifar"), devices=["meta", "cpu"])
    assert [p.device.type for p in model.parameters()] == ["meta"] * 16 + ["cpu"] * 16


@pytest.mark.parametrize(
    ("name", "devices"), [("lenet5", None), ("alexnet_two_tower_cifar", ["cpu"])]
)
def test_place_refuses(name: str, devices: list[str] | None) -> None:
    with pytest.raises(ValueError, match=r"no towers to place|1 devices for 2 towers"):
        place(create_model(name), devices=devices)


@pytest.mark.parametrize("source", ["alexnet_grouped_cifar", "alexnet_two_tower_cifar"])
@pytest.mark.parametrize("target", ["alexnet_grouped_cifar", "alexnet_two_tower_cifar"])
def test_weights_go_from_either_form_into_either(source: str, target: str) -> None:
    given, taker = build(source), create_model(target, num_classes=5, **SMALL)
    assert isinstance(given, AlexNetForm)
    assert isinstance(taker, AlexNetForm)
    load(taker, given.state_dict())
    assert_equal(taker.grouped_state(), given.grouped_state())
    other = create_model(target, num_classes=5, **SMALL)
    assert load_pretrained(other, given.state_dict(), num_classes=5) == []
    assert_equal(other.state_dict(), taker.state_dict())


def test_weights_that_do_not_fit_are_refused_by_name_and_change_nothing() -> None:
    state = build("alexnet_grouped_cifar").state_dict()
    taker = build("alexnet_two_tower_cifar", num_classes=7)
    before = {name: tensor.clone() for name, tensor in taker.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"towers\.0\.fc8\.weight is \(3, 32\) in the weights and \(4, 32\)"
    ):
        load(taker, state)
    del state["conv2.bias"]
    with pytest.raises(ValueError, match=r"lack towers\.0\.conv2\.bias"):
        load(taker, state)
    assert_equal(taker.state_dict(), before)


def test_join_refuses_towers_that_differ_in_their_parameters() -> None:
    state = build("alexnet_grouped_cifar").state_dict()
    towers = [take_tower(state, 0), take_tower(state, 1)]
    del towers[1]["fc7.bias"]
    with pytest.raises(ValueError, match=r"not every tower has fc7\.bias"):
        join_towers(towers)


def on_processes(
    work: Callable[..., None], size: int, folder: Path, *arguments: Any
) -> list[dict[str, Any]]:
    """Run `work(rank, *arguments) -> None` on `size` processes of one thread.

    Return what each saved.
    """
    mp.spawn(_start, args=(work, size, str(folder), arguments), nprocs=size)
    return [torch.load(folder / f"{rank}.pt") for rank in range(size)]


def _start(
    rank: int,
    work: Callable[..., dict[str, Any]],
    size: int,
    folder: str,
    arguments: tuple[Any, ...],
) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size
    )
    torch.save(work(rank, *arguments), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


FUNCTIONS = {"tower": tower_of_mesh, "owt": one_weird_trick}


def train_on_mesh(
    rank: int, way: str, name: str, dtype: torch.dtype, data_size: int
) -> dict[str, Any]:
    """Train rank's part of a model shared by two, on its share of the images.

    Return what there is to compare.
    """
    mesh = init_device_mesh("cpu", (data_size, 2), mesh_dim_names=("data", "model"))
    data_rank, model_rank = mesh.get_coordinate() or (0, 0)
    net = FUNCTIONS[way](build(name, dtype), group=mesh.get_group("model"), rank=model_rank, size=2)
    assert isinstance(net, SharedAlexNet)
    wrapped: nn.Module = net
    if data_size > 1:
        wrapped = DistributedDataParallel(net, process_group=mesh.get_group("data"))
    share = BATCH // data_size
    losses = train(
        wrapped, dtype, rows=lambda n: [slice(data_rank * share, (data_rank + 1) * share)]
    )
    with torch.no_grad():
        scores = net.eval()(batch(99, dtype, 3)[0])  # an odd number of images
    num_local = sum(parameter.numel() for parameter in net.parameters())
    trained = net.grouped_state()
    sent = net.bytes_sent
    load(net, trained)
    return {
        "losses": losses,
        "state": trained,
        "again": net.grouped_state(),
        "scores": scores,
        "sent": sent,
        "num_local": num_local,
    }


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Compare processes of one thread with one of one thread."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.mark.distributed
@pytest.mark.parametrize(
    "name", [pytest.param("alexnet_grouped_cifar", marks=pytest.mark.ci), "alexnet_two_tower_cifar"]
)
@pytest.mark.ci
def test_a_tower_a_process_equals_the_looped_towers_to_the_bit(name: str, tmp_path: Path) -> None:
    looped = build("alexnet_two_tower_cifar")
    assert isinstance(looped, TwoTower)
    losses = train(looped)
    scores = looped.eval()(batch(99, torch.float32, 3)[0])
    for rank in on_processes(train_on_mesh, 2, tmp_path, "tower", name, torch.float32, 1):
        assert rank["losses"] == losses
        assert_equal(rank["state"], looped.grouped_state())
        assert_equal(rank["again"], rank["state"])
        assert torch.equal(rank["scores"], scores)


@pytest.mark.distributed
@pytest.mark.ci
def test_what_crosses_and_what_a_process_holds(tmp_path: Path) -> None:
    """Count what a step and an evaluation send, for B images and s bytes a value.

    A step: 2 * B * s * (units before conv3, fc6, fc7, fc8) + B * s * scores. An evaluation: the
    way forward alone.
    """
    units = 8 * 2 * 2 + 8 + 16 + 16  # of one tower, 32 px
    expected = NUM_STEPS * (2 * BATCH * 4 * units + 3 * BATCH * 4) + 3 * 4 * (units + 3)
    whole = sum(p.numel() for p in build("alexnet_grouped_cifar").parameters())
    ranks = on_processes(
        train_on_mesh, 2, tmp_path, "tower", "alexnet_grouped_cifar", torch.float32, 1
    )
    assert [rank["sent"] for rank in ranks] == [expected, expected]
    assert sum(rank["num_local"] for rank in ranks) == whole
    assert max(rank["num_local"] for rank in ranks) <= 0.51 * whole


@pytest.mark.distributed
@pytest.mark.ci
def test_four_processes_equal_the_looped_towers_with_two_micro_batches_to_the_bit(
    tmp_path: Path,
) -> None:
    looped = build("alexnet_two_tower_cifar")
    assert isinstance(looped, TwoTower)
    train(looped, rows=lambda n: [slice(0, n // 2), slice(n // 2, n)])
    for rank in on_processes(
        train_on_mesh, 4, tmp_path, "tower", "alexnet_two_tower_cifar", torch.float32, 2
    ):
        assert_equal(rank["state"], looped.grouped_state())


@pytest.mark.distributed
@pytest.mark.parametrize(
    "name", [pytest.param("alexnet_owt_cifar", marks=pytest.mark.ci), "alexnet_two_tower_cifar"]
)
@pytest.mark.ci
def test_one_weird_trick_equals_one_process(name: str, tmp_path: Path) -> None:
    alone = build(name, torch.float64)
    assert isinstance(alone, AlexNet | TwoTower)
    losses = train(alone, torch.float64)
    scores = alone.eval()(batch(99, torch.float64, 3)[0])
    for rank in on_processes(train_on_mesh, 2, tmp_path, "owt", name, torch.float64, 1):
        assert rank["losses"] == pytest.approx(losses, abs=1e-12)
        torch.testing.assert_close(rank["scores"], scores, rtol=1e-12, atol=1e-12)
        for weight, tensor in alone.grouped_state().items():
            torch.testing.assert_close(rank["state"][weight], tensor, rtol=1e-12, atol=1e-12)
        assert_equal(rank["again"], rank["state"])


def test_refuses_a_model_that_the_processes_can_not_share() -> None:
    group: Any = None
    with pytest.raises(ValueError, match="2 processes for an AlexNet of 1 towers"):
        tower_of_mesh(build("alexnet_half_cifar"), group=group, rank=0, size=2)
    with pytest.raises(ValueError, match="LeNet5 is no AlexNet"):
        tower_of_mesh(create_model("lenet5"), group=group, rank=0, size=2)
    with pytest.raises(ValueError, match="6 processes can't share 32 units and 5 classes"):
        one_weird_trick(build("alexnet_half_cifar"), group=group, rank=0, size=6)
    assert isinstance(
        one_weird_trick(build("alexnet_half_cifar"), group=group, rank=0, size=2), OneWeirdTrick
    )
