"""Layers that torch lacks or is slow at."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Of one thread: a block (512 KiB of float32) and its scratch stay in a core's cache while a dozen
# operations pass over them.
BLOCK_ELEMENTS = 1 << 17


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
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, ...) to the same shape. Raise ValueError where `groups` doesn't divide C."""
        if x.dim() < 3 or x.shape[1] % self.groups:
            shape = tuple(x.shape)
            raise ValueError(
                f"LRN in {self.groups} groups can't read {shape}: (N, C, ...), C a multiple"
            )
        settings = (self.size, self.alpha, self.beta, self.k, self.groups)
        # A trace can't hold a function that has its own gradient.
        if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore
            return _apply_formula(x, *settings)
        y: Tensor = _LocalResponseNorm.apply(x, *settings)
        return y

    def extra_repr(self) -> str:
        """Show the settings when the model is printed."""
        return (
            f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, groups={self.groups}"
        )


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution that is one matrix product in channels-last: the same sums, less overhead.

    torch's convolution lays its weights out anew at every call, which costs more than the product
    on small maps.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, out_channels, H, W), in the input's layout."""
        # Weights of one pixel are contiguous in either layout; their strides say which was meant.
        was_laid_out = self.weight.stride(3) == self.in_channels
        if not (was_laid_out and x.is_contiguous(memory_format=torch.channels_last)):
            return super().forward(x)
        # Permuted, not flattened alone: a gradient takes its weights' strides, which DDP wants.
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        products = F.linear(x.permute(0, 2, 3, 1), weight, self.bias)
        return products.permute(0, 3, 1, 2)


def is_pointwise(conv: nn.Conv2d) -> bool:
    """Return whether each output is a weighted sum of the channels at its own place."""
    one_pixel = conv.kernel_size == (1, 1) and conv.stride == (1, 1)
    unpadded = conv.padding in ((0, 0), "valid", "same")
    return one_pixel and unpadded and conv.groups == 1


def _apply_formula(
    x: Tensor, size: int, alpha: float, beta: float, k: float, groups: int
) -> Tensor:
    """Apply the definition in whole-tensor operations, which a compiler fuses."""
    wide = _widen(x)
    num_maps = x.shape[1] // groups
    # Not len(x): an export would be for that number of images alone.
    maps = wide.reshape(x.shape[0], groups, num_maps, -1)
    before, after = size // 2, (size - 1) // 2
    squares = F.pad(maps * maps, (0, 0, before, after))
    total = torch.zeros(())
    for shift in range(size):
        total = total + squares[:, :, shift : shift + num_maps]
    scale = (k + alpha / size * total).pow(-beta)
    return (wide * scale.reshape(x.shape)).to(x.dtype)


class _LocalResponseNorm(torch.autograd.Function):
    """LRN in blocks that fit a cache; keeps only its input and computes the rest again backward.

    With s = k + alpha/n * W(x^2), where W sums a window, y = x s^-b has the gradient
    dx = g s^-b - 2 alpha b / n * x * W'(g x s^-(b+1)); W' is W with its window turned round.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, size: int, alpha: float, beta: float, k: float, groups: int
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.settings = (size, alpha, beta, k, groups)
        wide = _dense(_widen(x))
        y = torch.empty_like(wide)
        # k is spread over the window's places, so that s needs no addition of its own.
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
            g_power = _negative_power(s, beta).mul_(g_block)  # g s^-b
            # s is scratch and may be overwritten: x / s times g s^-b is g x s^-(b+1).
            sums = backwards.sums(g_power, s.reciprocal_().mul_(x_block))
            torch.addcmul(g_power, sums, x_block, out=dx_block)
        return dx.to(x.dtype), None, None, None, None, None


class _Windows:
    """Sums of `scale` * a * b + `offset` over windows of neighbouring channels, block by block.

    A tensor is seen as (rows, groups, maps, inner): rows are pixels in channels-last and images
    otherwise, inner is what lies between two maps. Each group is copied in between borders of
    `offset`, so that flat shifted additions do for all of a block, and no window reads another
    group. `turned` sums the mirrored window, which differs where `size` is even.
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
        self.size = size
        self.groups = groups
        self.scale = scale
        self.before = (size - 1) // 2 if turned else size // 2
        num_rows, _, self.maps, self.inner = self._rows(like).shape
        # One block elsewhere: a kernel launch for each would cost more than a cache saves.
        elements = like.numel()
        if like.device.type == "cpu":
            elements = BLOCK_ELEMENTS * torch.get_num_threads()
        elements_of_row = groups * self.maps * self.inner
        self.rows_of_block = min(num_rows, max(1, elements // elements_of_row))
        self.offset = like.new_full((), offset)
        shape = (self.rows_of_block, groups, self.maps + size - 1, self.inner)
        self.padded = like.new_full(shape, offset)
        # `_widened` halves the window until it is 1, and needs a tensor for each halving.
        self.scratch = [torch.empty_like(self.padded) for _ in range(size.bit_length() - 1)]

    def blocks(self, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Cut dense tensors of one shape into blocks of (rows, groups, maps, inner)."""
        cut = [torch.split(self._rows(tensor), self.rows_of_block) for tensor in tensors]
        return zip(*cut, strict=True)

    def sums(self, a: Tensor, b: Tensor) -> Tensor:
        """Sum over each window of a block; the result is a view, overwritten by the next call."""
        padded = self.padded[: len(a)]
        inside = padded[:, :, self.before : self.before + self.maps]
        torch.addcmul(self.offset, a, b, value=self.scale, out=inside)
        summed = self._widened(self.size, padded, self.scratch)
        return summed[:, :, : self.maps]

    def _widened(self, size: int, single: Tensor, scratch: list[Tensor]) -> Tensor:
        """Sum windows of `size` by adding two of half of it, and one more value where it is odd.

        Whole blocks are added flat, shifted by so many maps. Sums that run over from one row or
        group into the next stand behind the `maps` that `sums` takes.
        """
        if size == 1:
            return single
        half = self._widened(size // 2, single, scratch[1:]).view(-1)
        summed = scratch[0][: len(single)]
        length = single.numel() - (size - 1) * self.inner
        total = summed.view(-1)[:length]
        shift = size // 2 * self.inner
        torch.add(half[:length], half[shift : shift + length], out=total)
        if size % 2:
            total += single.view(-1)[-length:]
        return summed

    def _rows(self, x: Tensor) -> Tensor:
        """View a dense tensor (N, C, ...) as (rows, groups, maps, inner)."""
        maps = x.shape[1] // self.groups
        if x.is_contiguous():
            return x.view(len(x), self.groups, maps, -1)
        return x.movedim(1, -1).view(-1, self.groups, maps, 1)


def _negative_power(s: Tensor, beta: float) -> Tensor:
    """Raise to -beta; the usual 3/4 by roots, which are several times as fast as a power."""
    if beta != 0.75:
        return s.pow(-beta)
    root = s.rsqrt()
    return root.sqrt().mul_(root)  # s^-1/4 * s^-1/2


def _widen(x: Tensor) -> Tensor:
    """Return half precision as float32, in which a sum of squares doesn't overflow."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _dense(x: Tensor) -> Tensor:
    """Return `x` in one of the two layouts that can be seen as rows of channels."""
    return x if x.is_contiguous() or x.movedim(1, -1).is_contiguous() else x.contiguous()


def _like(x: Tensor, other: Tensor) -> Tensor:
    """Return `x` in the layout of `other`."""
    return x if x.stride() == other.stride() else torch.empty_like(other).copy_(x)
