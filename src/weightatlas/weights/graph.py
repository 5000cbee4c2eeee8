"""Parameter graph of a spec: nodes are neurons and channels, edges are weights; topology once per spec."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import SpecError
from weightatlas.weights.graph_build import Made, Relation
from weightatlas.weights.graph_layers import ACTIVATIONS as ACTIVATIONS
from weightatlas.weights.graph_layers import Graph, build
from weightatlas.weights.spec import NetworkSpec

NODE_FEATURES = 3  # bias (or norm shift), running mean, running variance


@dataclass(frozen=True, eq=False, slots=True)
class Relations:
    """Edges of one block that come from one tensor: `groups` complete bipartite grids.

    Args:
        columns: Which incoming edges of every node of the block they are.
        groups: Grids; 1 for dense layers, the channel groups of a grouped convolution, or one per node.
        source: Node that each column of each grid comes from, shape `(groups, columns)`.
    """

    columns: slice
    groups: int
    source: Int[Tensor, "groups columns"]


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """Nodes that one layer computes; each has the same number of incoming edges.

    Args:
        nodes: Their numbers.
        edges: Numbers of their incoming edges, node after node.
        degree: Incoming edges per node; 0 for inputs.
        relations: Where the edges come from.
    """

    nodes: slice
    edges: slice
    degree: int
    relations: tuple[Relations, ...]


@dataclass(frozen=True, eq=False, slots=True)
class ParameterGraph:
    """The graph of an architecture. Only values differ between its networks.

    Blocks are in order of computation, so that every edge leads from an earlier block to a later one.

    Args:
        blocks: Nodes layer by layer.
        source: Where each edge comes from, shape `(edges,)`.
        target: Where it leads, shape `(edges,)`.
        taps: Flat parameter behind each tap of an edge; -1 reads 0 and -2 reads 1, shape `(edges, taps)`.
        fan: Incoming numbers of the layer an edge belongs to, shape `(edges,)`.
        edge_kind: 0 weight, 1 convolution, 2 norm, 3 sum or skip, 4 product, 5 other, shape `(edges,)`.
        part: Which part of a kernel too large for the frame an edge carries, shape `(edges,)`.
        scalars: Flat parameters of each node (bias or shift, mean, variance), -1 where none, `(nodes, 3)`.
        node_kind: 0 input, 1 hidden, 2 output, 3 other source, shape `(nodes,)`.
        activation: Number of the nonlinearity behind a node, an index into `ACTIVATIONS`, shape `(nodes,)`.
        depth: Longest path from a source, shape `(nodes,)`.
        place: Index of an input or output node among its kind, else 0, shape `(nodes,)`.
        outputs: The output nodes, in order.
    """

    blocks: tuple[Block, ...]
    source: Int[Tensor, " edges"]
    target: Int[Tensor, " edges"]
    taps: Int[Tensor, "edges taps"]
    fan: Float[Tensor, " edges"]
    edge_kind: Int[Tensor, " edges"]
    part: Int[Tensor, " edges"]
    scalars: Int[Tensor, "nodes 3"]
    node_kind: Int[Tensor, " nodes"]
    activation: Int[Tensor, " nodes"]
    depth: Int[Tensor, " nodes"]
    place: Int[Tensor, " nodes"]
    outputs: Int[Tensor, " outputs"]

    @property
    def nodes(self) -> int:
        return len(self.node_kind)

    @property
    def edges(self) -> int:
        return len(self.source)

    def to(self, device: torch.device) -> "ParameterGraph":
        """Copy the index maps to a device."""
        moved = {
            name: getattr(self, name).to(device) for name in ParameterGraph.__slots__ if name != "blocks"
        }
        blocks = tuple(
            replace(b, relations=tuple(replace(r, source=r.source.to(device)) for r in b.relations))
            for b in self.blocks
        )
        return ParameterGraph(blocks=blocks, **moved)

    def edge_values(self, values: Float[Tensor, "networks params"]) -> Float[Tensor, "networks edges taps"]:
        """Read the weights of every edge.

        Args:
            values: Networks as rows.
        """
        return extended(values)[:, self.taps.to(values.device)]

    def node_values(self, values: Float[Tensor, "networks params"]) -> Float[Tensor, "networks nodes 3"]:
        """Read the bias, running mean and running variance of every node; 0 where there is none."""
        return extended(values)[:, self.scalars.to(values.device)]


def extended(values: Float[Tensor, "networks params"]) -> Float[Tensor, "networks more"]:
    """Append a 1 and a 0, which indices -2 and -1 read."""
    return torch.cat([values, values.new_ones(len(values), 1), values.new_zeros(len(values), 1)], dim=1)


@lru_cache(maxsize=64)
def parameter_graph(spec: NetworkSpec, frame: int = 3) -> ParameterGraph:
    """Build the graph of an architecture, once per (spec, frame).

    Neurons and channels are nodes, inputs among them. A kernel lies centered in a frame of
    `frame x frame` taps of one edge; the positions of a flattened feature map count as a kernel; what
    does not fit is spread over parallel edges. Norm layers are nodes with one edge that carries the scale.
    A sum is a node with edges that carry 1 (Kofinas et al., 2024; Lim et al., 2024). Queries, keys and
    values are nodes that meet in product nodes, or one behind the other where a module hides how.

    Every node belongs to one member of a permutation group or to none, and reads only columns that move
    with it, so permuting a network's neurons permutes the graph's nodes.

    Example:
        >>> from weightatlas.weights.trace import trace
        >>> spec = trace(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)), (3,))
        >>> graph = parameter_graph(spec, frame=1)
        >>> graph.nodes, graph.edges, graph.taps.shape
        (9, 20, torch.Size([20, 1]))

    Args:
        spec: Layout; without a layer graph, layers are taken to follow each other.
        frame: Side of the frame of taps.

    Raises:
        SpecError: There are no weights, or one has three permuted axes.
    """
    if not spec.tensors:
        raise SpecError("The spec has no parameters, so it has no graph.")
    made = build(spec, frame)
    blocks, edges = [], 0
    for block in made.blocks:
        blocks.append(_finished(block, edges))
        edges += block.size * blocks[-1].degree
    kinds = np.concatenate([np.full(block.size, block.kind) for block in made.blocks])
    kinds[made.outputs] = 2
    place = np.concatenate([np.arange(block.size) * (block.kind == 0) for block in made.blocks])
    place[made.outputs] = np.arange(len(made.outputs))
    return ParameterGraph(
        blocks=tuple(blocks),
        source=_edges(made, lambda r, rows: np.repeat(r.source, rows, axis=0)),
        target=_joined([np.repeat(np.arange(b.nodes.start, b.nodes.stop), b.degree) for b in blocks]),
        taps=_edges(made, lambda r, rows: r.taps),
        fan=_edges(made, lambda r, rows: np.full(r.taps.shape[:2], r.fan, dtype=np.float32)),
        edge_kind=_edges(made, lambda r, rows: np.full(r.taps.shape[:2], r.kind)),
        part=_edges(made, lambda r, rows: np.broadcast_to(r.part, r.taps.shape[:2])),
        scalars=_joined([block.scalars for block in made.blocks]),
        node_kind=torch.from_numpy(kinds),
        activation=torch.from_numpy(made.activation),
        depth=_joined([np.full(block.size, block.depth) for block in made.blocks]),
        place=torch.from_numpy(place),
        outputs=torch.from_numpy(made.outputs),
    )


def _finished(block: Made, edges: int) -> Block:
    """Give a block the numbers of its nodes and edges."""
    degree, relations = 0, []
    for relation in block.relations:
        columns = slice(degree, degree + relation.taps.shape[1])
        source = torch.from_numpy(relation.source)
        relations.append(Relations(columns, len(source), source))
        degree = columns.stop
    nodes = slice(block.start, block.start + block.size)
    return Block(nodes, slice(edges, edges + block.size * degree), degree, tuple(relations))


def _edges(made: Graph, read: Callable[[Relation, int], np.ndarray]) -> Tensor:
    """Write one property of all edges in order: block, node, relation, column."""
    parts = []
    for block in made.blocks:
        grids = [read(r, block.size // len(r.source)) for r in block.relations]
        if grids:
            grid = np.concatenate(grids, axis=1)
            parts.append(grid.reshape(grid.shape[0] * grid.shape[1], *grid.shape[2:]))
    return _joined(parts)


def _joined(parts: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.concatenate(parts)))
