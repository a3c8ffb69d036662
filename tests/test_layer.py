"""`LocalResponseNorm` and `PointwiseConv2d`.

Oracles: torch's own layers, `gradcheck` and the paper's formula.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.distributed.runtime import Runtime
from bench.request.command_line import parse
from zoo import create_model, fast, layer
from zoo.cost import count_parameters
from zoo.layer import LocalResponseNorm, PointwiseConv2d

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def with_gradient(norm: nn.Module, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    y = norm(x)
    y.backward(gradient)
    assert x.grad is not None
    return y.detach(), x.grad


def pair(
    shape: tuple[int, ...], layout: str = "contiguous", dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    x, gradient = torch.randn(shape, dtype=dtype) * 3, torch.randn(shape, dtype=dtype)
    return (
        x.contiguous(memory_format=LAYOUTS[layout]),
        gradient.contiguous(memory_format=LAYOUTS[layout]),
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("beta", [0.75, 0.5, 1.3])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("channels", [1, 3, 7, 48])
def test_equals_torch(size: int, beta: float, channels: int, layout: str) -> None:
    settings = (size, 0.3, beta, 2.0)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        x, gradient = pair((3, channels, 5, 4), layout, dtype)
        ours = with_gradient(LocalResponseNorm(*settings), x, gradient)
        theirs = with_gradient(nn.LocalResponseNorm(*settings), x, gradient)
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(1, 9),
    groups=st.integers(1, 4),
    maps=st.integers(1, 9),
    images=st.integers(1, 4),
    side=st.integers(1, 5),
    alpha=st.floats(1e-5, 1.0),
    k=st.floats(0.5, 3.0),
    block=st.sampled_from([1, 7, 64, 999]),
)
def test_equals_torch_within_each_group_in_blocks_of_any_size(
    size: int, groups: int, maps: int, images: int, side: int, alpha: float, k: float, block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer, "BLOCK_ELEMENTS", block)
        x, gradient = pair((images, groups * maps, side, side), "channels_last")
        ours = with_gradient(LocalResponseNorm(size, alpha, 0.75, k, groups=groups), x, gradient)
    theirs = [
        with_gradient(nn.LocalResponseNorm(size, alpha, 0.75, k), part, g)
        for part, g in zip(x.chunk(groups, 1), gradient.chunk(groups, 1), strict=True)
    ]
    torch.testing.assert_close(
        ours[0], torch.cat([y for y, _ in theirs], 1), rtol=1e-10, atol=1e-10
    )
    torch.testing.assert_close(
        ours[1], torch.cat([g for _, g in theirs], 1), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize(("size", "beta"), [(5, 0.75), (4, 0.75), (3, 1.2)])
def test_backward_is_the_derivative(size: int, beta: float) -> None:
    x, _ = pair((2, 6, 3, 2))
    norm = LocalResponseNorm(size, 0.5, beta, 2.0, groups=2)
    assert torch.autograd.gradcheck(norm, (x.requires_grad_(),))


def test_alpha_five_times_larger_is_the_papers_formula() -> None:
    """Section 3.3: b_i = a_i / (k + alpha * sum of a_j^2, j from i-2 to i+2)^beta.

    There alpha isn't divided by n.
    """
    a = torch.linspace(1, 9, 9, dtype=torch.float64)
    sums = [a[max(0, i - 2) : i + 3].square().sum() for i in range(9)]
    expected = a / (2 + 1e-4 * torch.stack(sums)) ** 0.75
    torch.testing.assert_close(
        LocalResponseNorm(5, 5e-4, 0.75, 2.0)(a.view(1, 9, 1)).flatten(), expected
    )


@pytest.mark.parametrize(
    "shape", [(4, 6, 5), (2, 6, 3, 2, 2)], ids=["one dimension", "three dimensions"]
)
def test_equals_torch_for_other_numbers_of_dimensions(shape: tuple[int, ...]) -> None:
    x, gradient = pair(shape)
    ours = with_gradient(LocalResponseNorm(3), x, gradient)
    torch.testing.assert_close(ours, with_gradient(nn.LocalResponseNorm(3), x, gradient))


def test_reads_views_and_gradients_of_any_layout() -> None:
    x, gradient = pair((4, 6, 8, 5))
    x, gradient = x[:, :, ::2].transpose(2, 3), gradient[:, :, ::2].transpose(2, 3).contiguous()
    ours = with_gradient(LocalResponseNorm(3), x, gradient)
    torch.testing.assert_close(ours, with_gradient(nn.LocalResponseNorm(3), x, gradient))
    sums = LocalResponseNorm(3)(x.requires_grad_()).sum()  # its gradient is one number, expanded
    assert torch.autograd.grad(sums, x)[0].isfinite().all()


def test_keeps_the_layout() -> None:
    x, _ = pair((2, 6, 4, 4), "channels_last")
    assert LocalResponseNorm(5)(x).is_contiguous(memory_format=torch.channels_last)


def test_under_autocast_computes_in_float32() -> None:
    x, gradient = pair((2, 12, 4, 4), dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = with_gradient(LocalResponseNorm(5, 0.3), x.bfloat16(), gradient.bfloat16())
    theirs = with_gradient(
        nn.LocalResponseNorm(5, 0.3), x.bfloat16().float(), gradient.bfloat16().float()
    )
    assert ours[0].dtype == ours[1].dtype == torch.bfloat16
    torch.testing.assert_close(ours[0], theirs[0].bfloat16())
    torch.testing.assert_close(ours[1], theirs[1].bfloat16())


def test_compiled_equals_torch() -> None:
    x, gradient = pair((2, 12, 4, 4))
    compiled = torch.compile(
        LocalResponseNorm(4, 0.3, groups=2), backend="aot_eager", fullgraph=True
    )
    ours = with_gradient(compiled, x, gradient)
    theirs = with_gradient(LocalResponseNorm(4, 0.3, groups=2), x, gradient)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_refuses_channels_that_groups_do_not_divide() -> None:
    with pytest.raises(ValueError, match="in 2 groups can't read"):
        LocalResponseNorm(5, groups=2)(torch.zeros(1, 5, 2, 2))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("channels", "side"), [((3, 8), 5), ((16, 4), 1), ((1, 1), 3)])
def test_a_product_equals_torchs_convolution(
    channels: tuple[int, int], side: int, bias: bool, layout: str
) -> None:
    theirs = nn.Conv2d(*channels, 1, bias=bias).double()
    ours = fast(nn.Sequential(nn.Conv2d(*channels, 1, bias=bias).double()))[0]
    ours.load_state_dict(theirs.state_dict())
    for module in (ours, theirs):
        module.to(memory_format=LAYOUTS[layout])
    x, _ = pair((2, channels[0], side, side), layout)
    _, gradient = pair((2, channels[1], side, side), layout)
    assert isinstance(ours, PointwiseConv2d)
    torch.testing.assert_close(with_gradient(ours, x, gradient), with_gradient(theirs, x, gradient))
    for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, its.grad)
        assert mine.grad.stride() == mine.stride()  # else DDP copies it, and warns
    assert ours(x).is_contiguous(memory_format=LAYOUTS[layout])


def test_only_plain_pointwise_convolutions_become_products() -> None:
    others = [
        nn.Conv2d(4, 4, 1, padding_mode="circular"),
        nn.Conv2d(4, 4, 1, stride=2),
        nn.Conv2d(4, 4, 1, groups=2),
        nn.Conv2d(4, 4, 1, padding=1),
        nn.LazyConv2d(4, 1),
        PointwiseConv2d(4, 4, 1),
    ]
    kinds = [type(module) for module in others]
    model = nn.Sequential(*others, nn.Conv2d(4, 4, 1))
    names = list(model.state_dict())
    assert [type(module) for module in fast(model)] == [*kinds, PointwiseConv2d]
    assert list(model.state_dict()) == names


def test_a_model_that_is_placed_on_a_cpu_has_products_and_counts_as_before() -> None:
    model = create_model("shufflenet_v2_x1_0")
    before = (count_parameters(model), [type(m).__name__ for m in model.modules()].count("Conv2d"))
    with Runtime.start(parse(["--recipe", "smoke"])) as runtime:
        placed = runtime.place_model(model, {})
    kinds = [type(m).__name__ for m in placed.modules()]
    assert (
        count_parameters(placed),
        sum(kinds.count(kind) for kind in ("Conv2d", "PointwiseConv2d", "SmallMapConv2d")),
    ) == before
    assert (
        kinds.count("PointwiseConv2d") == 1 + 2 * 16 + 3
    )  # conv5; two a unit; one more where a unit halves the map
