"""Residual blocks of a network, found in its graph."""

from functools import lru_cache

from weightatlas.weights.spec import NetworkSpec, Node

_WHOLE = frozenset({"transformer_encoder_layer", "transformer_decoder_layer"})


@lru_cache(maxsize=256)
def residual_blocks(spec: NetworkSpec) -> tuple[tuple[int, int], ...]:
    """List the first and last layer of every residual block, in execution order.

    A block is what lies between an addition of two branches and the last operation both come from.
    A PyTorch transformer layer, which is one operation of the graph, counts as one block.

    Example:
        >>> residual_blocks(NetworkSpec(tensors=()))
        ()

    Args:
        spec: A network; without a graph no block is known.
    """
    if spec.graph is None:
        return ()
    found, behind = [], _ancestors(spec.graph)
    for number, node in enumerate(spec.graph):
        inner: set[int] = set()
        if node.op in _WHOLE:
            inner = {number}
        elif node.op == "add" and len(node.inputs) == 2:
            first, second = (behind[i] | {i} for i in node.inputs)
            inner = (first ^ second) if first & second else set()
        layers = [spec.tensors[i].layer for place in inner for i in spec.graph[place].tensors]
        if layers:
            found.append((min(layers), max(layers)))
    return tuple(found)


def _ancestors(graph: tuple[Node, ...]) -> list[set[int]]:
    """Everything each node depends on."""
    found: list[set[int]] = []
    for node in graph:
        found.append(set(node.inputs).union(*(found[i] for i in node.inputs)))
    return found
