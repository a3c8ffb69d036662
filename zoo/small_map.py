"""Convolutions on maps smaller than their kernel, of which most taps meet nothing but the border.

torch computes every tap. On a map of 1x1 px a 3x3 kernel with a border multiplies eight of its nine
taps by zeros, and the networks made for 224 px end on such maps at 32 px.
"""

from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

# The rule of what is replaced, from convolutions timed beside torch's (LAB.md). Of torch's
# multiply-adds at most one in so many may meet a pixel: maps of 2x2 px gain under a 3x3 kernel
# (2.25), and 4x4 px don't under 5x5 (2.04).
LEAST_SAVING = 2.2
# A product of fewer multiply-adds takes less time than it takes to ask for it.
LEAST_PRODUCT = 1 << 21
# The same of a sum: images times output channels of a depthwise convolution, or of one in groups.
LEAST_DEPTHWISE = 1 << 13
LEAST_GROUPED = 1 << 17


Pair = tuple[int, int]  # along the rows, along the columns


class Axis(NamedTuple):
    """A convolution along one axis of its map."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def num_outputs(self) -> int:
        """The places of the output; less than one where torch refuses the map as too small."""
        reach = self.dilation * (self.kernel - 1) + 1
        return (self.size + 2 * self.padding - reach) // self.stride + 1


class Meeting(NamedTuple):
    """A tap that meets a place of the map, and the place of the output that it is added to."""

    output: int
    place: int
    tap: int


class Overlap(NamedTuple):
    """All meetings of one tap: the places of the output, and those of the map, in step."""

    outputs: slice
    places: slice
    tap: int


class SmallMapConv2d(nn.Conv2d):
    """A convolution that leaves out the taps that meet no pixel, where that is faster.

    Where a group's products are large, it is one for each place of the output and tap that meets a
    place of the map there, forward and backward. Depthwise and other small groups are torch's, but
    for the weights' gradient: that is a sum for each tap that meets.

    It is chosen by shape, in each call. A convolution whose first map is too large becomes torch's
    own again. Compiled, exported and under autocast it is torch's as well.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, out_channels, H', W'), in the input's layout."""
        if not _can_take(x, self):
            return super().forward(x)
        axes = find_axes(self, *x.shape[2:])
        if not saves_enough(*axes):
            # Not under a subclass that something else has made of this module meanwhile.
            if type(self) is SmallMapConv2d:
                self.__class__ = nn.Conv2d  # type: ignore[assignment]
            return nn.Conv2d.forward(self, x)
        if self._has_large_products(len(x)):
            y: Tensor = _Products.apply(x, self.weight, self.groups, axes)
        elif self._has_long_sums(len(x)):
            y = _TapGradient.apply(x, self.weight, self.groups, axes)
        else:
            return super().forward(x)
        return y if self.bias is None else y + self.bias.view(-1, 1, 1)

    def _has_large_products(self, num_images: int) -> bool:
        """Return whether the product of a group and a tap is worth a call."""
        inputs_of_group = self.in_channels // self.groups
        outputs_of_group = self.out_channels // self.groups
        return num_images * inputs_of_group * outputs_of_group >= LEAST_PRODUCT

    def _has_long_sums(self, num_images: int) -> bool:
        """Return whether the weights' gradient is asked for, and worth a call for each tap."""
        if self.groups == 1 or not (torch.is_grad_enabled() and self.weight.requires_grad):
            return False
        least = LEAST_DEPTHWISE if self.groups == self.in_channels else LEAST_GROUPED
        return num_images * self.out_channels >= least


def can_have_small_map(conv: nn.Conv2d) -> bool:
    """Return whether a map can be small for a convolution whose border is given in numbers."""
    return conv.kernel_size[0] * conv.kernel_size[1] > 1 and not isinstance(conv.padding, str)


def find_axes(conv: nn.Conv2d, height: int, width: int) -> tuple[Axis, Axis]:
    """Return a convolution's two axes for a map."""
    assert not isinstance(conv.padding, str), "such a convolution is left alone"
    rows, columns = zip(conv.kernel_size, conv.stride, conv.padding, conv.dilation, strict=True)
    return Axis(height, *rows), Axis(width, *columns)


@lru_cache(maxsize=1024)
def saves_enough(rows: Axis, columns: Axis) -> bool:
    """Return whether enough taps meet nothing. False where all do, or torch refuses the map."""
    meeting = len(find_meetings(rows)) * len(find_meetings(columns))
    computed = rows.num_outputs * rows.kernel * columns.num_outputs * columns.kernel
    return 0 < LEAST_SAVING * meeting <= computed


@lru_cache(maxsize=1024)
def find_meetings(axis: Axis) -> tuple[Meeting, ...]:
    """Return what meets along one axis, in the order of outputs, then of places."""
    meetings = []
    for output, place in product(range(axis.num_outputs), range(axis.size)):
        distance = place + axis.padding - output * axis.stride
        tap, between = divmod(distance, axis.dilation)
        if between == 0 and 0 <= tap < axis.kernel:
            meetings.append(Meeting(output, place, tap))
    return tuple(meetings)


@lru_cache(maxsize=1024)
def find_overlaps(axis: Axis) -> tuple[Overlap, ...]:
    """Return each tap that meets something along one axis, with all places where it does."""
    by_tap: dict[int, list[Meeting]] = {}
    for meeting in find_meetings(axis):
        by_tap.setdefault(meeting.tap, []).append(meeting)
    overlaps = []
    for tap, meetings in by_tap.items():
        first, last = meetings[0], meetings[-1]
        # From one output to the next a tap moves on by the stride.
        outputs = slice(first.output, last.output + 1)
        places = slice(first.place, last.place + 1, axis.stride)
        overlaps.append(Overlap(outputs, places, tap))
    return tuple(overlaps)


def _can_take(x: Tensor, conv: nn.Conv2d) -> bool:
    """Return whether an input is what the sums here are for; torch has its way with all others."""
    # A compiler lays out its own loops, and must not bake one shape's products into its graph.
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return False
    # What torch.func maps or differentiates forward must be made of torch's own operations.
    if torch._C._are_functorch_transforms_active():
        return False
    # Exactly a tensor: a tracer's stand-in has no shape to choose by.
    if type(x) is not Tensor or x.device.type != "cpu" or x.dim() != 4:
        return False
    # torch's own message, where the channels or types don't fit. Half precision is left to it.
    fits = x.shape[1] == conv.in_channels and x.dtype == conv.weight.dtype
    is_wide = x.dtype in (torch.float32, torch.float64)
    return fits and is_wide and not torch.is_autocast_enabled("cpu")


class _Convolution(torch.autograd.Function):
    """What both convolutions keep for their backward pass."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, ctx.groups, ctx.axes = inputs
        ctx.save_for_backward(x, weight)


class _Products(_Convolution):
    """A convolution by a product for each group, place of the output and tap that meets a place.

    Maps are laid out (H, W, N, C), of which each place is a matrix. Sums go in one order, so a run
    repeats to the bit.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, groups: int, axes: tuple[Axis, Axis]) -> Tensor:
        rows, columns = axes
        shape = (rows.num_outputs, columns.num_outputs, len(x), len(weight))
        y = x.new_zeros(shape)
        for each in _list_products(_by_place(x), y, _by_tap(weight), groups, axes):
            each.output.addmm_(each.place, each.tap.t())
        return _laid_out_as(x, y.permute(2, 3, 0, 1))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        wants_x, wants_weight = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            return _differentiate_by_torch(ctx, gradient, wants_x, wants_weight)
        x, weight = ctx.saved_tensors
        to_output = _by_place(gradient)
        to_x = to_weight = None
        if wants_x:
            to_place = torch.zeros_like(_by_place(x))
            taps = _by_tap(weight)
            for each in _list_products(to_place, to_output, taps, ctx.groups, ctx.axes):
                each.place.addmm_(each.output, each.tap)
            to_x = _laid_out_as(x, to_place.permute(2, 3, 0, 1))
        if wants_weight:
            to_weight = torch.zeros_like(weight, memory_format=torch.channels_last)
            to_tap = _by_tap(to_weight)
            for each in _list_products(_by_place(x), to_output, to_tap, ctx.groups, ctx.axes):
                each.tap.addmm_(each.output.t(), each.place)
            to_weight = _with_strides_of(weight, to_weight)
        return to_x, to_weight, None, None


class _Product(NamedTuple):
    """The matrices of one product: (N, inputs), (N, outputs) and (outputs, inputs) of a group."""

    place: Tensor
    output: Tensor
    tap: Tensor


def _list_products(
    places: Tensor, outputs: Tensor, taps: Tensor, groups: int, axes: tuple[Axis, Axis]
) -> list[_Product]:
    """Return the products of a convolution, all of them views."""
    products = []
    for row, column in product(*(find_meetings(axis) for axis in axes)):
        by_group = zip(
            places[row.place, column.place].chunk(groups, 1),
            outputs[row.output, column.output].chunk(groups, 1),
            taps[row.tap, column.tap].chunk(groups),
            strict=True,
        )
        products += [_Product(*matrices) for matrices in by_group]
    return products


def _by_place(maps: Tensor) -> Tensor:
    """Return (N, C, H, W) as (H, W, N, C): free where a map has one place."""
    return maps.permute(2, 3, 0, 1).contiguous()


def _by_tap(weight: Tensor) -> Tensor:
    """Return a weight as (kernel height, kernel width, outputs, inputs), free in channels-last."""
    return weight.contiguous(memory_format=torch.channels_last).permute(2, 3, 0, 1)


def _laid_out_as(like: Tensor, maps: Tensor) -> Tensor:
    """Return maps in the layout of others."""
    if like.is_contiguous(memory_format=torch.channels_last):
        return maps.contiguous(memory_format=torch.channels_last)
    return maps.contiguous()


def _with_strides_of(weight: Tensor, gradient: Tensor) -> Tensor:
    """Return a weight's gradient in its very strides, which DDP wants."""
    if gradient.stride() == weight.stride():
        return gradient
    return torch.empty_like(weight).copy_(gradient)


class _TapGradient(_Convolution):
    """torch's convolution in groups, but for the weights' gradient: a sum for each tap that meets.

    oneDNN takes up to a hundred times as long for that as for the rest.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, groups: int, axes: tuple[Axis, Axis]) -> Tensor:
        stride, padding, dilation = _settings(axes)
        return torch.conv2d(x, weight, None, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        wants_x, wants_weight = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            return _differentiate_by_torch(ctx, gradient, wants_x, wants_weight)
        x, weight = ctx.saved_tensors
        to_x, *_ = _differentiate_by_torch(ctx, gradient, wants_x, False)
        to_weight = None
        if wants_weight:
            to_weight = _sum_by_tap(x, gradient, weight, ctx.groups, ctx.axes)
        return to_x, to_weight, None, None


def _differentiate_by_torch(
    ctx: Any, gradient: Tensor, wants_x: bool, wants_weight: bool
) -> tuple[Tensor | None, ...]:
    """Return the gradients of torch's own convolution, which can be differentiated again."""
    x, weight = ctx.saved_tensors
    settings = (*_settings(ctx.axes), False, (0, 0), ctx.groups)
    wanted = (wants_x, wants_weight, False)
    found = torch.ops.aten.convolution_backward(gradient, x, weight, None, *settings, wanted)
    return found[0], found[1], None, None


def _settings(axes: tuple[Axis, Axis]) -> tuple[Pair, Pair, Pair]:
    """Return stride, padding and dilation as torch takes them."""
    rows, columns = axes
    return (
        (rows.stride, columns.stride),
        (rows.padding, columns.padding),
        (rows.dilation, columns.dilation),
    )


def _sum_by_tap(
    x: Tensor, gradient: Tensor, weight: Tensor, groups: int, axes: tuple[Axis, Axis]
) -> Tensor:
    """Return the gradient of a weight, in its layout."""
    places = _by_group(x, groups)
    outputs = _by_group(gradient, groups)
    taps = {}
    for row, column in product(*(find_overlaps(axis) for axis in axes)):
        place = places[:, row.places, column.places]
        output = outputs[:, row.outputs, column.outputs]
        taps[row.tap, column.tap] = _sum_outer_products(output, place)
    nothing = weight.new_zeros(()).expand(weight.shape[:2])
    whole_kernel = product(range(weight.shape[2]), range(weight.shape[3]))
    by_tap = torch.stack([taps.get(tap, nothing) for tap in whole_kernel], 2)
    return _with_strides_of(weight, by_tap.view_as(weight))


def _by_group(maps: Tensor, groups: int) -> Tensor:
    """Return (N, C, H, W) as (N, H, W, groups, C of a group), free in channels-last."""
    by_place = maps.permute(0, 2, 3, 1).contiguous()
    return by_place.view(*by_place.shape[:3], groups, -1)


def _sum_outer_products(outputs: Tensor, places: Tensor) -> Tensor:
    """Sum over images and places: to (all outputs, inputs of a group)."""
    if places.shape[4] == 1:
        # Depthwise: as products, these would be of 1x1 matrices.
        return (outputs * places).sum((0, 1, 2)).view(-1, 1)
    outputs = outputs.flatten(0, 2)
    places = places.flatten(0, 2)
    return torch.bmm(outputs.permute(1, 2, 0), places.transpose(0, 1)).flatten(0, 1)
