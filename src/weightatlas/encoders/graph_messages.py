"""Message passing over parameter graphs: every sum runs over the rows or columns of regular grids."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightatlas.encoders.perceptron import perceptron
from weightatlas.weights.graph import Block, ParameterGraph

STATISTICS = 4


def pna(messages: Float[Tensor, "*batch neighbors dim"]) -> Float[Tensor, "*batch more"]:
    """Mean, minimum, maximum and standard deviation over neighbors, side by side (PNA's aggregators)."""
    mean = messages.mean(-2)
    spread = (messages - mean[..., None, :]).square().mean(-2)
    # The root has no finite slope at 0, where nodes with one neighbor are.
    return torch.cat([mean, messages.amin(-2), messages.amax(-2), (spread + 1e-5).sqrt()], dim=-1)


def gather_in(
    graph: ParameterGraph,
    messages: Float[Tensor, "networks edges dim"],
    reduce: Callable[[Tensor], Tensor],
    width: int,
) -> Float[Tensor, "networks nodes width"]:
    """Reduce what reaches every node over its incoming edges; zero for inputs.

    Args:
        graph: Topology.
        messages: One per edge.
        reduce: From `(..., neighbors, dim)` to `(..., width)`.
        width: Numbers that come out.
    """
    count, dim = messages.shape[0], messages.shape[2]
    parts = []
    for block in graph.blocks:
        size = block.nodes.stop - block.nodes.start
        if not block.degree:
            parts.append(messages.new_zeros(count, size, width))
            continue
        parts.append(reduce(messages[:, block.edges].reshape(count, size, block.degree, dim)))
    return torch.cat(parts, dim=1)


def gather_out(
    graph: ParameterGraph,
    messages: Float[Tensor, "networks edges dim"],
    reduce: Callable[[Tensor], Tensor],
    width: int,
) -> Float[Tensor, "networks nodes width"]:
    """Reduce what every node gets back over its outgoing edges; zero for outputs.

    A node that several grids read gets the mean of what each of them gives.
    """
    count = messages.shape[0]
    total = messages.new_zeros(count, graph.nodes, width)
    reads = messages.new_zeros(graph.nodes)
    for block in graph.blocks:
        for source, columns in grids(block, messages):
            total = total.index_add(1, source, reduce(columns).reshape(count, len(source), width))
            reads = reads.index_add(0, source, torch.ones_like(source, dtype=reads.dtype))
    return total / reads.clamp_min(1)[:, None]


def grids(block: Block, messages: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Cut the edges of a block into columns: source nodes, and `(networks, groups, columns, rows, dim)`."""
    count, dim = messages.shape[0], messages.shape[2]
    size = block.nodes.stop - block.nodes.start
    whole = messages[:, block.edges].reshape(count, size, block.degree, dim)
    found = []
    for relation in block.relations:
        part = whole[:, :, relation.columns].unflatten(1, (relation.groups, -1))
        found.append((relation.source.flatten(), part.transpose(2, 3)))
    return found


class PnaLayer(nn.Module):
    """One round of PNA messages along and against the edges, then new edge states.

    A message is `scale(e) * phi(x_source, x_target) + shift(e)` (Kofinas et al., 2024, NG-GNN). The
    amplifying degree scaler enters once, as a gate of the statistics.

    Args:
        nodes: Width of node states.
        edges: Width of edge states.
        reverse: Also send messages against the edges.
        dropout: Dropout probability of the updates.
        renew: Whether edges get new states; nobody reads those of the last round.
    """

    def __init__(
        self, nodes: int, edges: int, reverse: bool = True, dropout: float = 0.0, renew: bool = True
    ) -> None:
        super().__init__()
        self.ways = 2 if reverse else 1
        self.here = nn.Linear(nodes, nodes * self.ways)
        self.there = nn.Linear(nodes, nodes * self.ways, bias=False)
        self.modulate = nn.Linear(edges, 2 * nodes * self.ways)
        self.update = perceptron(
            (nodes * (1 + 2 * STATISTICS * self.ways), nodes, nodes), dropout, last=False
        )
        self.norm = nn.LayerNorm(nodes)
        self.ends = nn.Linear(2 * nodes, edges) if renew else None
        self.renew = nn.Linear(edges, edges) if renew else None
        self.edge_norm = nn.LayerNorm(edges) if renew else None

    def forward(self, graph: ParameterGraph, nodes: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Return new node and edge states."""
        dim = nodes.shape[2]
        there, here = self.there(nodes)[:, graph.source], self.here(nodes)[:, graph.target]
        scale, shift = self.modulate(edges).chunk(2, dim=-1)
        messages = (there + here).relu() * (1 + scale) + shift
        ways = messages.split(dim, dim=-1)
        found = [gather_in(graph, ways[0], pna, STATISTICS * dim)]
        if self.ways == 2:
            found.append(gather_out(graph, ways[1], pna, STATISTICS * dim))
        amplified = [part * degrees(graph, place).to(part) for place, part in enumerate(found)]
        nodes = self.norm(nodes + self.update(torch.cat([nodes, *found, *amplified], dim=-1)))
        if self.ends is None or self.renew is None or self.edge_norm is None:
            return nodes, edges
        first, second = self.ends.weight.split(dim, dim=1)
        ends = (nodes @ first.T)[:, graph.source] + (nodes @ second.T)[:, graph.target]
        edges = self.edge_norm(edges + self.renew((edges + ends + self.ends.bias).relu()))
        return nodes, edges


def degrees(graph: ParameterGraph, way: int) -> Float[Tensor, "nodes 1"]:
    """Logarithm of the number of incoming (0) or outgoing (1) edges, relative to the graph's mean."""
    ends = graph.target if way == 0 else graph.source
    count = (torch.bincount(ends, minlength=graph.nodes).float() + 1).log()
    return (count / count[count > 0].mean().clamp_min(1e-6))[:, None]
