"""Convolutions on maps smaller than their kernel, and `zoo.fast`.

Oracle: torch's own convolution in float64, with its gradients; `gradcheck`.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import zoo
from zoo import small_map
from zoo.small_map import SmallMapConv2d, find_axes, find_meetings, saves_enough

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
WAYS = ("products", "sums")


class Shape(NamedTuple):
    """A convolution, and the map that it reads."""

    groups: int
    inputs: int  # of a group
    outputs: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    bias: bool


def pairs(low: int, high: int) -> Any:
    return st.tuples(st.integers(low, high), st.integers(low, high))


shapes = st.builds(
    Shape,
    groups=st.integers(1, 4),
    inputs=st.integers(1, 3),
    outputs=st.integers(1, 3),
    size=pairs(1, 5),
    kernel=pairs(1, 5),
    stride=pairs(1, 3),
    padding=pairs(0, 4),
    dilation=pairs(1, 3),
    bias=st.booleans(),
)


def make_convolution(shape: Shape) -> nn.Conv2d:
    return nn.Conv2d(
        shape.groups * shape.inputs,
        shape.groups * shape.outputs,
        shape.kernel,
        shape.stride,
        shape.padding,
        shape.dilation,
        shape.groups,
        shape.bias,
    )


def make_fast(conv: nn.Conv2d) -> nn.Module:
    """Return a fast copy, kept even where it is the root of its model."""
    return zoo.fast(deepcopy(conv))


@contextmanager
def everything_by(way: str) -> Iterator[None]:
    """Convolve by one way whatever it gains, wherever any tap meets anything."""

    def meets(rows: small_map.Axis, columns: small_map.Axis) -> bool:
        return bool(find_meetings(rows) and find_meetings(columns))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_map, "saves_enough", meets)
        patch.setattr(small_map, "LEAST_PRODUCT", 0 if way == "products" else math.inf)
        patch.setattr(small_map, "LEAST_DEPTHWISE", 0)
        patch.setattr(small_map, "LEAST_GROUPED", 0)
        yield


def run(conv: nn.Module, x: Tensor, gradient: Tensor) -> list[Tensor]:
    """Return the output and the gradients of the input and of the parameters."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = conv(x)
    return [y, *torch.autograd.grad(y, [x, *conv.parameters()], gradient)]


@pytest.mark.parametrize("way", WAYS)
@settings(deadline=None, max_examples=150)
@given(
    shape=shapes,
    num_images=st.integers(1, 3),
    x_layout=st.sampled_from(sorted(LAYOUTS)),
    weight_layout=st.sampled_from(sorted(LAYOUTS)),
)
def test_values_and_gradients_are_torchs_in_float64(
    way: str, shape: Shape, num_images: int, x_layout: str, weight_layout: str
) -> None:
    torch.manual_seed(0)
    reach = [d * (k - 1) + 1 for d, k in zip(shape.dilation, shape.kernel, strict=True)]
    padded = [s + 2 * p for s, p in zip(shape.size, shape.padding, strict=True)]
    assume(all(p >= r for p, r in zip(padded, reach, strict=True)))
    conv = make_convolution(shape).double()
    ours = make_fast(conv).to(memory_format=LAYOUTS[weight_layout])
    x = torch.randn(num_images, conv.in_channels, *shape.size, dtype=torch.float64)
    x = x.contiguous(memory_format=LAYOUTS[x_layout])
    gradient = torch.randn_like(conv(x))
    expected = run(conv, x, gradient)
    with everything_by(way):
        exact = run(ours, x, gradient)
    for mine, its in zip(exact, expected, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-12, atol=1e-12)
    # torch 2.14.1's own convolution in float32 may end the process where the border is wider.
    if any(p >= r for p, r in zip(shape.padding, reach, strict=True)):
        return
    with everything_by(way):
        rounded = run(ours.float(), x.float(), gradient.float())
    for mine, its in zip(rounded, expected, strict=True):
        torch.testing.assert_close(mine.double(), its, rtol=2e-5, atol=2e-5)


@settings(deadline=None, max_examples=200)
@given(
    axis=st.builds(
        small_map.Axis,
        size=st.integers(1, 9),
        kernel=st.integers(1, 7),
        stride=st.integers(1, 4),
        padding=st.integers(0, 5),
        dilation=st.integers(1, 3),
    )
)
def test_what_meets_is_what_the_definition_says(axis: small_map.Axis) -> None:
    """output[o] = sum over taps of map[o * stride - padding + tap * dilation] * weight[tap]."""
    expected = []
    for output in range(max(0, axis.num_outputs)):
        for tap in range(axis.kernel):
            place = output * axis.stride - axis.padding + tap * axis.dilation
            if 0 <= place < axis.size:
                expected.append((output, place, tap))
    assert sorted(find_meetings(axis)) == sorted(expected)
    found = []
    for overlap in small_map.find_overlaps(axis):
        outputs = range(axis.num_outputs)[overlap.outputs]
        places = range(axis.size)[overlap.places]
        found += [(o, p, overlap.tap) for o, p in zip(outputs, places, strict=True)]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("groups", "channels"), [(1, 4), (2, 4), (4, 4)])
def test_layouts_are_kept_and_gradients_can_be_differentiated_again(
    way: str, layout: str, groups: int, channels: int
) -> None:
    conv = nn.Conv2d(channels, channels, 3, padding=1, groups=groups).double()
    ours = make_fast(conv).to(memory_format=LAYOUTS[layout])
    x = torch.randn(2, channels, 2, 2, dtype=torch.float64)
    x = x.contiguous(memory_format=LAYOUTS[layout])
    with everything_by(way):
        y = ours(x)
        assert y.is_contiguous(memory_format=LAYOUTS[layout])
        y.sum().backward()
        for parameter in ours.parameters():
            # Else DDP copies it, and warns.
            assert parameter.grad is not None
            assert parameter.grad.stride() == parameter.stride()

        def convolve(x: Tensor, weight: Tensor) -> Tensor:
            return torch.func.functional_call(ours, {"weight": weight}, x)

        given = (x.requires_grad_(), ours.weight.detach().clone().requires_grad_())
        assert torch.autograd.gradcheck(convolve, given)
        assert torch.autograd.gradgradcheck(convolve, given)


def is_replaced(conv: nn.Conv2d, x: Tensor) -> bool:
    """Return whether a training step on this input went another way than torch's."""
    y = zoo.fast(conv)(x)
    nodes = [y.grad_fn]
    while nodes:
        node = nodes.pop()
        if "_Products" in str(node) or "_TapGradient" in str(node):
            return True
        nodes += [before for before, _ in node.next_functions if before is not None]
    return False


@pytest.mark.parametrize(
    ("conv", "size", "expected"),
    [
        (nn.Conv2d(512, 512, 3, padding=1), 1, True),
        (nn.Conv2d(256, 512, 3, stride=2, padding=1), 2, True),
        (nn.Conv2d(256, 256, 3, padding=1), 2, True),
        (nn.Conv2d(256, 384, 3, padding=1, groups=2), 2, True),
        (nn.Conv2d(96, 256, 5, padding=2), 4, False),
        (nn.Conv2d(128, 128, 3, padding=1), 4, False),
        (nn.Conv2d(128, 128, 3), 3, False),  # every tap meets a pixel
        (nn.Conv2d(16, 16, 3, padding=1), 1, False),
        (nn.Conv2d(960, 960, 3, padding=1, groups=960), 1, True),
        (nn.Conv2d(576, 576, 3, stride=2, padding=1, groups=576), 2, True),
        (nn.Conv2d(192, 192, 3, padding=1, groups=192), 4, False),
        (nn.Conv2d(16, 16, 3, padding=1, groups=16), 1, False),
        (nn.Conv2d(1024, 1024, 3, padding=1, groups=32), 1, True),
    ],
    ids=lambda value: str(value).removeprefix("Conv2d"),
)
def test_the_rule_takes_what_gained_and_leaves_what_lost(
    conv: nn.Conv2d, size: int, expected: bool
) -> None:
    assert is_replaced(conv, torch.randn(128, conv.in_channels, size, size)) == expected


@pytest.mark.parametrize("name", ["lenet5", "resnet20", "resnet18_cifar"])
def test_a_form_with_large_maps_alone_has_torchs_modules_again(name: str) -> None:
    before = [type(module) for module in zoo.create_model(name).modules()]
    model = zoo.fast(zoo.create_model(name))
    model(torch.randn(2, 3, 32, 32))
    assert [type(module) for module in model.modules()] == before


def test_a_forward_that_changes_shape_between_calls() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(128, 128, 3, padding=1)
    ours = make_fast(conv)
    for size in (1, 2, 7, 1, 3):
        x = torch.randn(128, 128, size, size)
        torch.testing.assert_close(ours(x), conv(x), rtol=1e-4, atol=1e-5)


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(8, 160, 3, stride=2, padding=1),
        nn.BatchNorm2d(160),
        nn.ReLU(),
        nn.Conv2d(160, 160, 3, padding=1, groups=160),
        nn.Conv2d(160, 160, 3, padding=1),
        nn.Flatten(),
        nn.Linear(160, 4),
    )


IMAGES = torch.randn(128, 8, 2, 2, generator=torch.Generator().manual_seed(1))


def test_a_copy_an_average_and_a_saved_state_fit_the_plain_model() -> None:
    plain, ours = small_network(), zoo.fast(small_network())
    average = AveragedModel(ours)
    kinds = [type(module) for module in average.module]
    assert kinds == [type(module) for module in ours]
    assert kinds.count(SmallMapConv2d) == 3
    plain.load_state_dict(ours.state_dict())
    torch.testing.assert_close(average(IMAGES), plain(IMAGES), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(deepcopy(ours)(IMAGES), plain(IMAGES), rtol=1e-4, atol=1e-5)


def test_under_autocast_and_compiled_it_is_torchs() -> None:
    plain, ours = small_network(), zoo.fast(small_network())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ours(IMAGES), plain(IMAGES))
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(IMAGES), plain(IMAGES), rtol=1e-4, atol=1e-5)
    program = torch.export.export(ours.eval(), (IMAGES,))
    operations = [str(node.target) for node in program.graph.nodes]
    assert operations.count("aten.conv2d.default") == 3


def test_a_training_step_repeats_to_the_bit_with_two_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        runs = []
        for _ in range(3):
            model = zoo.fast(small_network())
            model(IMAGES).square().mean().backward()
            runs.append([parameter.grad for parameter in model.parameters()])
    finally:
        torch.set_num_threads(before)
    for again in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(again, runs[0], strict=True))


def test_wrong_inputs_are_refused_by_torchs_own_words() -> None:
    conv = nn.Conv2d(128, 128, 3)
    for wrong in (torch.randn(128, 64, 1, 1), torch.randn(128, 128, 1, 1), torch.randn(3)):
        with pytest.raises(RuntimeError) as theirs:
            conv(wrong)
        with pytest.raises(RuntimeError) as ours:
            make_fast(conv)(wrong)
        assert str(ours.value) == str(theirs.value)


def test_saving_counts_every_tap_that_torch_computes() -> None:
    conv = nn.Conv2d(8, 8, 3, padding=1)
    saving = {size: saves_enough(*find_axes(conv, size, size)) for size in (1, 2, 3, 4)}
    assert saving == {1: True, 2: True, 3: False, 4: False}
