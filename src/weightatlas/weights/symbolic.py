"""The code of a network as a graph of operations; submodules that resist are kept whole."""

import copy
import hashlib
from typing import Any

from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from weightatlas.errors import SpecError, gather


def symbolic(network: nn.Module) -> fx.GraphModule:
    """Trace a network's code; submodules that resist are kept whole."""
    whole: set[str] = set()
    while True:
        tracer = _SymbolicTracer(whole)
        try:
            graph = tracer.trace(network)
        except _Untraceable as error:
            whole.add(str(error))
            continue
        except Exception as error:
            raise SpecError(
                f"The code of {type(network).__name__} cannot be traced.",
                where=str(error).strip().splitlines()[0],
                todo="Move control flow that depends on data into a submodule: it is then kept whole.",
            ) from error
        return fx.GraphModule(network, graph)


def nodes_of(arguments: Any) -> list[fx.Node]:
    """List the nodes among the arguments of an operation, in order, repeated ones too."""
    found: list[fx.Node] = []
    map_arg(arguments, lambda node: found.append(node) or node)
    return found


def tensors_in(result: Any) -> list[Tensor]:
    """List the tensors of an operation's result."""
    if isinstance(result, Tensor):
        return [result]
    return [item for item in result if isinstance(item, Tensor)] if isinstance(result, (tuple, list)) else []


def digest_of(value: Tensor) -> str:
    """Hash the values of a constant tensor."""
    return hashlib.sha256(repr((value.dtype, value.tolist())).encode()).hexdigest()[:16]


def portable(network: nn.Module) -> nn.Module:
    """Copy a network to the CPU, in float32 and eval mode, where fake inputs can meet it.

    Raises:
        SpecError: It cannot be copied, or holds complex numbers.
    """
    name = type(network).__name__
    try:
        found = copy.deepcopy(network).cpu().float().eval()
    except RuntimeError as error:
        raise SpecError(
            f"{name} cannot be copied.",
            where=str(error).strip().splitlines()[0],
            todo="Use torch.nn.utils.parametrizations for normed weights, and no meta device.",
        ) from error
    phases = [f"'{key}' holds complex numbers" for key, t in found.state_dict().items() if t.is_complex()]
    gather(SpecError, phases, where=f"In {name}.", todo="Keep real and imaginary parts: torch.view_as_real.")
    return found


class _Untraceable(Exception):
    """A submodule's code cannot be traced symbolically."""


class _SymbolicTracer(fx.Tracer):
    """Keeps modules of torch.nn whole, and those whose code could not be traced."""

    def __init__(self, whole: set[str]) -> None:
        super().__init__()
        self.whole = whole

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self.whole or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except _Untraceable:
            raise
        except Exception as error:
            raise _Untraceable(self.path_of_module(m)) from error
