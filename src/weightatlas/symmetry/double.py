"""Code of networks in float64, with the casts to float32 and the constants that it writes itself."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map


class InDouble(TorchFunctionMode):
    """Within it, what would be float32 is float64: `x.float()`, `x.to(torch.float32)`, `torch.zeros(3)`.

    Networks are compared in float64; a cast in their code would round, or meet weights of another type.

    Example:
        >>> with InDouble():
        ...     torch.ones(2).dtype, torch.arange(3).float().dtype
        (torch.float64, torch.float64)
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is Tensor.float:
            func = Tensor.double
        args, named = tree_map(_wide, args), tree_map(_wide, dict(kwargs or {}))
        result = func(*args, **named)
        if any(isinstance(value, Tensor) for value in tree_leaves((args, named))):
            return result
        made = isinstance(result, Tensor) and result.dtype == torch.float32
        return result.double() if made else result


def _wide(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value
