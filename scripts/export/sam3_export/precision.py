"""How a bf16 or fp16 bundle computes: as autocast does, written down in the graph.

The reference numbers of SAM 3 come from bf16 autocast: matrix products and convolutions run in bf16, while residual
streams, normalisations, embeddings and coordinates stay in fp32. We do the same without autocast: a model stays
fp32, and the modules that hold the heavy products are wrapped in `Lowered`, which casts their weights, their inputs
and, back again, their outputs.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Lowered(nn.Module):
    """Runs `inner` in `dtype`; what goes in and comes out keeps the caller's dtype.

    Floating tensors handed over directly are cast. Tensors inside tuples are left alone: those are the rotary tables,
    which the attention applies in fp32.
    """

    def __init__(self, inner: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner = inner.to(dtype)
        self.dtype = dtype

    def _lower(self, value: object) -> object:
        return value.to(self.dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

    def forward(self, *args: object, **kwargs: object) -> object:
        lowered = {name: self._lower(value) for name, value in kwargs.items()}
        result = self.inner(*(self._lower(value) for value in args), **lowered)
        if isinstance(result, tuple):
            return tuple(value.float() if isinstance(value, Tensor) else value for value in result)
        return result.float()


def lower(root: nn.Module, names: Iterable[str], dtype: torch.dtype) -> None:
    """Wrap the named submodules of `root` (dotted, `*` for every child of a list) unless `dtype` is fp32."""
    if dtype == torch.float32:
        return
    for name in names:
        for parent, child in _matches(root, name.split(".")):
            setattr(parent, child, Lowered(getattr(parent, child), dtype))


def _matches(module: nn.Module, path: list[str]) -> list[tuple[nn.Module, str]]:
    head, rest = path[0], path[1:]
    children = [name for name, _ in module.named_children()] if head == "*" else [head]
    if not rest:
        return [(module, child) for child in children]
    return [match for child in children for match in _matches(getattr(module, child), rest)]
