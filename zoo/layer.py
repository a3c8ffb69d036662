"""Layers that torch lacks or is slow at."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

BLOCK_ELEMENTS = (
    1 << 17
)  # a thread's: a block and its scratch stay in a core's cache while a dozen operations pass


class LocalResponseNorm(nn.Module):
    """Divide each value by a power of the squares around it in `size` neighbouring channels.

    b = a / (k + alpha / size * sum of a^2)^beta, as `torch.nn.LocalResponseNorm` has it (Krizhevsky
    et al. 2012, section 3.3, where alpha isn't divided by size). With `groups` the channels are cut
    into that many parts, and no window crosses from one into another. Computes in float32 at least;
    the output has the input's type.
    """

    def __init__(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, groups: int = 1
    ) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k, self.groups = size, alpha, beta, k, groups

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, ...) to the same shape. ValueError where `groups` doesn't divide C."""
        if x.dim() < 3 or x.shape[1] % self.groups:
            raise ValueError(
                f"LRN in {self.groups} groups can't read {tuple(x.shape)}: (N, C, ...), C a multiple"
            )
        if torch.compiler.is_compiling():
            return _formula(x, self.size, self.alpha, self.beta, self.k, self.groups)
        y: Tensor = _LocalResponseNorm.apply(
            x, self.size, self.alpha, self.beta, self.k, self.groups
        )
        return y

    def extra_repr(self) -> str:
        """Show the settings when the model is printed."""
        return (
            f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, groups={self.groups}"
        )


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution that is one matrix product in channels-last: the same sums, fewer stops.

    torch's convolution lays its weights out anew at every call, which costs more than the product
    on small maps.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, out_channels, H, W), in the input's layout."""
        if not (self._is_channels_last() and x.is_contiguous(memory_format=torch.channels_last)):
            return super().forward(x)
        weight = self.weight.permute(0, 2, 3, 1).flatten(
            1
        )  # not flatten alone: gradients take the weights' strides
        return F.linear(x.permute(0, 2, 3, 1), weight, self.bias).permute(0, 3, 1, 2)

    def _is_channels_last(self) -> bool:
        """Whether the weights were laid out so.

        Of one pixel, they are contiguous in either layout.
        """
        return self.weight.stride(3) == self.in_channels


def with_products(model: nn.Module) -> nn.Module:
    """Make a model's plain 1x1 convolutions `PointwiseConv2d`, in place.

    Weights, names and hooks stay as they are.
    """
    for module in model.modules():
        if type(module) is nn.Conv2d and _is_pointwise(module):
            module.__class__ = PointwiseConv2d
    return model


def _is_pointwise(conv: nn.Conv2d) -> bool:
    """Whether each output is a weighted sum of the channels at its own place."""
    unpadded = conv.padding in ((0, 0), "valid", "same")
    return conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.groups == 1 and unpadded


def _formula(x: Tensor, size: int, alpha: float, beta: float, k: float, groups: int) -> Tensor:
    """The definition in whole-tensor operations, which a compiler fuses."""
    wide = _widen(x)
    maps = wide.reshape(len(x), groups, x.shape[1] // groups, -1)
    squares = F.pad(maps * maps, (0, 0, size // 2, (size - 1) // 2))
    total = sum((squares[:, :, i : i + maps.shape[2]] for i in range(size)), torch.zeros(()))
    return (wide * (k + alpha / size * total).pow(-beta).reshape(x.shape)).to(x.dtype)


class _LocalResponseNorm(torch.autograd.Function):
    """LRN in blocks that fit a cache; keeps only its input and computes the rest again on the way back.

    With s = k + alpha/n * W(x^2), where W sums a window, y = x s^-b has the gradient
    dx = g s^-b - 2 alpha b / n * x * W'(g x s^-(b+1)); W' is W with its window turned round.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, size: int, alpha: float, beta: float, k: float, groups: int
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.settings = size, alpha, beta, k, groups
        wide = _dense(_widen(x))
        y = torch.empty_like(wide)
        windows = _Windows(wide, size, groups, scale=alpha / size, offset=k / size)
        for x_block, y_block in windows.blocks(wide, y):
            s = windows.sums(x_block, x_block)
            torch.mul(x_block, _negative_power(s, beta), out=y_block)
        return y.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        size, alpha, beta, k, groups = ctx.settings
        wide = _dense(_widen(x))
        g = _like(_widen(gradient), wide)
        dx = torch.empty_like(wide)
        forwards = _Windows(wide, size, groups, scale=alpha / size, offset=k / size)
        backwards = _Windows(wide, size, groups, scale=-2 * alpha * beta / size, turned=True)
        for x_block, g_block, dx_block in forwards.blocks(wide, g, dx):
            s = forwards.sums(x_block, x_block)
            g_power = _negative_power(s, beta).mul_(g_block)
            sums = backwards.sums(g_power, s.reciprocal_().mul_(x_block))
            torch.addcmul(g_power, sums, x_block, out=dx_block)
        return dx.to(x.dtype), None, None, None, None, None


class _Windows:
    """Sums of `scale` * a * b + `offset` over windows of `size` neighbouring channels, a block of rows at a time.

    A tensor is seen as (rows, groups, maps, inner): rows are pixels in channels-last and images
    otherwise, inner is what lies between two maps. Each group is copied in between borders of
    `offset`, so that flat shifted additions do for all of a block, and no window reads another
    group. `turned` sums the mirrored window, for an even size.
    """

    def __init__(
        self,
        like: Tensor,
        size: int,
        groups: int,
        *,
        scale: float,
        offset: float = 0.0,
        turned: bool = False,
    ) -> None:
        self.size, self.groups, self.scale = size, groups, scale
        self.before = (size - 1) // 2 if turned else size // 2
        rows, _, maps, self.inner = self._rows(like).shape
        elements = (
            BLOCK_ELEMENTS * torch.get_num_threads() if like.device.type == "cpu" else like.numel()
        )
        self.rows_of_block = min(rows, max(1, elements // (groups * maps * self.inner)))
        self.maps = maps
        self.offset = like.new_full((), offset)
        self.padded = like.new_full(
            (self.rows_of_block, groups, maps + size - 1, self.inner), offset
        )
        self.scratch = [torch.empty_like(self.padded) for _ in range(size.bit_length() - 1)]

    def blocks(self, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Cut dense tensors of one shape into blocks of (rows, groups, maps, inner)."""
        return zip(
            *(torch.split(self._rows(tensor), self.rows_of_block) for tensor in tensors),
            strict=True,
        )

    def sums(self, a: Tensor, b: Tensor) -> Tensor:
        """Sum over each window of a block. The result is a view, overwritten by the next call."""
        padded = self.padded[: len(a)]
        torch.addcmul(
            self.offset,
            a,
            b,
            value=self.scale,
            out=padded[:, :, self.before : self.before + self.maps],
        )
        summed = self._widened(self.size, padded, self.scratch)
        return summed[:, :, : self.maps]

    def _widened(self, size: int, single: Tensor, scratch: list[Tensor]) -> Tensor:
        """Sum windows of `size` by adding two of half of it, and one more value where it is odd."""
        if size == 1:
            return single
        half, summed = self._widened(size // 2, single, scratch[1:]), scratch[0][: len(single)]
        length = single.numel() - (size - 1) * self.inner
        total, step = summed.view(-1)[:length], size // 2 * self.inner
        torch.add(half.view(-1)[:length], half.view(-1)[step : step + length], out=total)
        if size % 2:
            total += single.view(-1)[-length:]
        return summed

    def _rows(self, x: Tensor) -> Tensor:
        """View a dense tensor (N, C, ...) as (rows, groups, maps, inner)."""
        if x.is_contiguous():
            return x.view(len(x), self.groups, x.shape[1] // self.groups, -1)
        return x.movedim(1, -1).view(-1, self.groups, x.shape[1] // self.groups, 1)


def _negative_power(s: Tensor, beta: float) -> Tensor:
    """Raise to -beta; the usual 3/4 by roots, which are several times as fast as a power."""
    if beta != 0.75:
        return s.pow(-beta)
    root = s.rsqrt()
    return root.sqrt().mul_(root)


def _widen(x: Tensor) -> Tensor:
    """Half precision as float32."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _dense(x: Tensor) -> Tensor:
    """Return `x` in one of the two layouts that can be seen as rows of channels."""
    return x if x.is_contiguous() or x.movedim(1, -1).is_contiguous() else x.contiguous()


def _like(x: Tensor, other: Tensor) -> Tensor:
    """Return `x` in the layout of `other`."""
    return x if x.stride() == other.stride() else torch.empty_like(other).copy_(x)
