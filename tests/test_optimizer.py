"""Rates and optimisers. Oracle: torch's own schedulers, stepped; the parameters' shapes."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import timm.optim
import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from bench.request.command_line import parse
from bench.request.config import OPTIMIZERS, RunConfig
from bench.train.checkpoint_writer import save_optimizer
from bench.train.optimizer import build_optimizer, check_optimizer, list_decaying
from bench.train.schedule import choose_optimizer, drop_peak, learning_rate_at
from zoo import create_model, list_models
from zoo.lenet import PartialConv2d, Subsampling

STEPS = 50
CONFIG = parse(["--recipe", "smoke"])


def with_(**changes: Any) -> RunConfig:
    return dataclasses.replace(CONFIG, **changes)


def dummy() -> torch.optim.SGD:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)


def stepped(optimizer: torch.optim.Optimizer, schedule: Any) -> list[float]:
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_cosine_without_a_warm_up_is_torchs() -> None:
    optimizer = dummy()
    expected = stepped(optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS))
    config = with_(schedule="cosine", warmup=0.0)
    assert [learning_rate_at(config, 0.4, step / STEPS) for step in range(STEPS)] == pytest.approx(
        expected, abs=1e-12
    )


def test_the_warm_up_is_torchs_linear_one() -> None:
    optimizer = dummy()
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / 25, total_iters=10)
    expected = stepped(optimizer, schedule)[:10]
    config = with_(schedule="onecycle", warmup=0.2)
    assert [learning_rate_at(config, 0.4, step / STEPS) for step in range(10)] == pytest.approx(
        expected, abs=1e-12
    )


@pytest.mark.parametrize("schedule", ["constant", "cosine", "plateau", "onecycle"])
def test_no_warm_up_has_a_step_of_rate_0(schedule: str) -> None:
    """As torchvision's recipes begin, at a hundredth; what was above that is as it was."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    start = 1 / 25 if schedule == "onecycle" else 0.0
    linear = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: max(0.01, start + (1 - start) * step / 10)
    )
    expected = stepped(optimizer, linear)[:10]
    config = with_(schedule=schedule, warmup=0.2)
    rates = [learning_rate_at(config, 0.4, step / STEPS) for step in range(10)]
    assert rates == pytest.approx(expected, abs=1e-12)
    assert min(rates) >= 0.004


def test_one_cycle_falls_as_torchs_does() -> None:
    optimizer = dummy()
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS, eta_min=0.4 / 1000)
    expected = stepped(optimizer, schedule)
    config = with_(schedule="onecycle", warmup=0.2)
    ours = [learning_rate_at(config, 0.4, 0.2 + 0.8 * step / STEPS) for step in range(STEPS)]
    assert ours == pytest.approx(expected, abs=1e-12)


def test_steps_take_a_tenth_after_each_third_as_torchs_multi_step() -> None:
    optimizer = dummy()
    third = STEPS // 3
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [third, 2 * third], gamma=0.1)
    expected = stepped(optimizer, schedule)[: 3 * third]
    config = with_(schedule="steps", warmup=0.0)
    ours = [learning_rate_at(config, 0.4, step / (3 * third)) for step in range(3 * third)]
    assert ours == pytest.approx(expected, abs=1e-12)
    assert learning_rate_at(config, 0.4, 1.0) == pytest.approx(0.004)


def test_a_constant_rate_stays() -> None:
    config = with_(schedule="constant", warmup=0.1)
    assert {learning_rate_at(config, 0.4, share) for share in (0.1, 0.5, 1.0)} == {0.4}


@pytest.mark.parametrize("name", ["sgd", "adamw", "adam", "lamb", "lion"])
def test_biases_and_norms_do_not_decay(name: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    optimizer = build_optimizer(model, with_(optimizer=name, weight_decay=0.3), 0.1)
    decay = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    for parameter in model.parameters():
        assert decay[id(parameter)] == (0.3 if parameter.ndim > 1 else 0.0)


# What multiplies an input, by the module that holds it; everything else doesn't decay.
MULTIPLYING: tuple[tuple[type[nn.Module], str], ...] = (
    (nn.Linear, "weight"),
    (_ConvNd, "weight"),
    (nn.MultiheadAttention, "in_proj_weight"),
    (PartialConv2d, "weight"),
    (Subsampling, "weight"),
)
TRAINED = [spec.name for spec in list_models() if spec.learner == "steps"]
OF_TORCHVISION = ("tv:vit_b_16", "tv:swin_t", "tv:swin_v2_t", "tv:convnext_tiny", "tv:maxvit_t")


@pytest.mark.parametrize("name", [*TRAINED, *OF_TORCHVISION])
def test_the_weights_of_layers_decay_and_nothing_else(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=10)
    expected = set()
    for place, module in model.named_modules():
        for kind, parameter in MULTIPLYING:
            if isinstance(module, kind) and getattr(module, parameter) is not None:
                expected.add(f"{place}.{parameter}".removeprefix("."))
    assert list_decaying(model) == expected


@pytest.mark.parametrize(
    "name",
    [
        "deit_tiny_patch16_224",
        "eva02_tiny_patch14_224",
        "xcit_nano_12_p8_224",
        "levit_128",
        "swin_tiny_patch4_window7_224",
        "coat_tiny",
        "convnext_atto",
        "resnet18",
    ],
)
def test_what_decays_of_timms_models_is_what_timm_says(name: str) -> None:
    with torch.device("meta"):
        model = create_model(f"timm:{name}", num_classes=10)
    own = next(module for module in model.modules() if type(module).__module__.startswith("timm"))
    spared = own.no_weight_decay() if hasattr(own, "no_weight_decay") else ()
    none, decaying = timm.optim.param_groups_weight_decay(  # type: ignore[attr-defined]
        own, weight_decay=0.1, no_weight_decay_list=spared
    )
    assert (none["weight_decay"], decaying["weight_decay"]) == (0.0, 0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    # timm itself forgets what a part of a model names: `temperature` of XCiT's attention.
    theirs = {names[id(one)] for one in decaying["params"]}
    assert list_decaying(model) == {name for name in theirs if not name.endswith("temperature")}


@pytest.mark.parametrize(
    ("asked", "own", "expected"),
    [
        ({"lr": 0.3}, {"lr": 0.02}, ("sgd", 0.3)),
        ({}, {"lr": 0.02}, ("sgd", 0.02)),
        ({}, {}, ("sgd", 0.05)),
        ({"optimizer": "adam"}, {"lr": 0.02}, ("adam", 0.001)),
        ({}, {"optimizer": "adamw", "lr": 0.002}, ("adamw", 0.002)),
        ({"optimizer": "adamw"}, {"optimizer": "adamw", "lr": 0.002}, ("adamw", 0.002)),
        ({"optimizer": "sgd"}, {"optimizer": "adamw", "lr": 0.002}, ("sgd", 0.05)),
        ({"lr": 0.3}, {"optimizer": "adamw", "lr": 0.002}, ("adamw", 0.3)),
    ],
)
def test_optimiser_and_rate_are_the_users_then_the_models_then_the_usual(
    asked: dict[str, Any], own: dict[str, Any], expected: tuple[str, float]
) -> None:
    settled = choose_optimizer(with_(**asked), own)
    assert (settled.optimizer, settled.lr) == expected


def test_an_unknown_optimiser_is_refused_with_the_nearest() -> None:
    check_optimizer("lamb")
    with pytest.raises(ValueError, match=r"did you mean .*adamw"):
        check_optimizer("adamww")


def test_an_optimiser_that_can_not_be_used_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="--optimizer adahessian: ") as refused:
        check_optimizer("adahessian")
    assert "\n" not in str(refused.value)


def refused_line(name: str) -> str:
    try:
        check_optimizer(name)
    except ValueError as error:
        return str(error)
    return ""


def trained(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    """Take steps whose draws are functions of their numbers, as the trainer's are."""
    for step in steps:
        torch.manual_seed(step)
        draw = torch.Generator().manual_seed(step)
        for group in optimizer.param_groups:
            group["lr"] = 0.01 / (1 + step)
        model(torch.randn(8, 3, 8, 8, generator=draw)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def small_network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "name",
    [
        # Kron compiles its parts first: 14 s.
        pytest.param(name, marks=pytest.mark.slow if name.startswith("kron") else ())
        for name in sorted({*OPTIMIZERS, *timm.optim.list_optimizers()})  # type: ignore[attr-defined]
    ],
)
@pytest.mark.filterwarnings("ignore")  # of optimisers that compile themselves
def test_every_optimiser_resumes_to_the_bit_or_is_refused(name: str, tmp_path: Path) -> None:
    if refused_line(name):
        assert refused_line(name).startswith(f"--optimizer {name}: ")
        return
    config = with_(optimizer=name, weight_decay=0.01)
    whole, stopped, resumed = small_network(), small_network(), small_network()
    trained(whole, build_optimizer(whole, config, 0.01), range(6))
    optimizer = build_optimizer(stopped, config, 0.01)
    trained(stopped, optimizer, range(3))
    save_optimizer(tmp_path / "optimizer.pt", optimizer.state_dict())
    resumed.load_state_dict(stopped.state_dict())
    optimizer = build_optimizer(resumed, config, 0.01)
    optimizer.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    trained(resumed, optimizer, range(3, 6))
    for name_of, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name_of], tensor), name_of


def test_the_rate_drops_where_torchs_does_at_a_plateau() -> None:
    errors = [
        float(e) for e in torch.randint(50, (200,), generator=torch.Generator().manual_seed(0))
    ]
    errors = sorted(errors[:100], reverse=True) + errors[100:]
    optimizer = dummy()
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, patience=3, threshold=0.0, min_lr=0.4e-3
    )
    config = with_(schedule="plateau", patience=4)
    rates = set()
    for i, error in enumerate(errors):
        schedule.step(error)
        rates.add(optimizer.param_groups[0]["lr"])
        assert drop_peak(config, 0.4, errors[: i + 1]) == pytest.approx(
            optimizer.param_groups[0]["lr"], rel=1e-12
        )
    assert len(rates) == 4


def test_momentum_is_sgd_without_nesterovs_step() -> None:
    model = nn.Linear(3, 2)
    twin = nn.Linear(3, 2)
    twin.load_state_dict(model.state_dict())
    ours = build_optimizer(model, with_(optimizer="momentum", weight_decay=0.0), 0.1)
    theirs = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    for step in range(5):
        for net, optimizer in ((model, ours), (twin, theirs)):
            optimizer.zero_grad()
            net(torch.full((4, 3), float(step))).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(model.weight, twin.weight)


def test_muon_keeps_the_directions_of_a_gradient_to_float32() -> None:
    """Its step is U f(S) V' of the gradient's U S V': bfloat16 would be off by a hundredth."""
    layer = nn.Linear(48, 32, bias=False)
    optimizer = build_optimizer(layer, with_(optimizer="nmuon", weight_decay=0.0), 1.0)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.randn(32, 48, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(layer.weight.grad.double(), full_matrices=False)
    optimizer.step()
    stretched = left.T @ (before - layer.weight.detach()).double() @ right.T
    aside = stretched - stretched.diag().diag()
    assert aside.abs().max() < 1e-4 * stretched.abs().max()
