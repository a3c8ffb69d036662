"""Count multiply-adds while a network runs, by the module whose own code asks for them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
MATRIX_PRODUCTS = frozenset({aten.mm, aten.addmm, aten.bmm, aten.baddbmm})
CONVOLUTIONS = frozenset({aten.convolution, aten._convolution, aten.cudnn_convolution})


class MultiplyAdds(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts multiply-adds by torch's own formulas, while the context lasts.

    `of_layers` holds those of convolutions and linear layers, by the module at the end of `path`,
    which the caller keeps. `of_products` are those between two activations, as attention
    multiplies queries by keys: no layer has weights for them, and it is usual not to count them.
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path: list[str] = []
        self.of_layers: Counter[str] = Counter()
        self.of_products = 0
        # Storages of all that the images went into; kept, so that none of their places is reused.
        self.activations: dict[int, torch.UntypedStorage] = {}
        self._mark(images)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        # A linear layer, say, is a matrix product by another name: counted as what it is made of.
        with self:
            made = func.decompose(*args, **kwargs)
        if made is not NotImplemented:
            return made
        output = func(*args, **kwargs)
        self._count(func.overloadpacket, args, kwargs, output)
        if any(self._is_activation(tensor) for tensor in tensors_in((args, kwargs))):
            for tensor in tensors_in(output):
                self._mark(tensor)
        return output

    def _count(self, operation: Any, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
        formula = flop_registry.get(operation)
        if formula is None:
            return
        number = formula(*args, **kwargs, out_val=output) // 2  # a multiply-add is two operations
        if self._is_product(operation, args):
            self.of_products += number
        else:
            self.of_layers[self.path[-1]] += number

    def _is_product(self, operation: Any, args: tuple[Any, ...]) -> bool:
        """Return whether an operation multiplies activations by each other."""
        if operation in CONVOLUTIONS:
            return False
        if operation not in MATRIX_PRODUCTS:
            return True  # attention in one operation
        # The factors come last; what is added to their product comes before them.
        return all(self._is_activation(factor) for factor in args[-2:])

    def _is_activation(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self.activations

    def _mark(self, tensor: Tensor) -> None:
        # By the storage, so that a view of an activation is one; on `meta` no address tells them.
        storage = tensor.untyped_storage()
        self.activations[storage._cdata] = storage


def tensors_in(value: object) -> Iterator[Tensor]:
    """Find the tensors in what a module takes or gives: tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from tensors_in(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from tensors_in(one)
