"""The code of a network as a graph of operations; submodules that resist are kept whole."""

from typing import Any

from torch import fx, nn
from torch.fx.node import map_arg

from weightatlas.errors import SpecError


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


def nodes_of(n: fx.Node) -> list[fx.Node]:
    """List the nodes an operation reads, in order, repeated ones too."""
    found: list[fx.Node] = []
    map_arg((n.args, n.kwargs), lambda node: found.append(node) or node)
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
