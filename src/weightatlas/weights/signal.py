"""What a network does to Gaussian inputs, from its weights alone: means and covariances, layer by layer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from weightatlas.weights.graph import ACTIVATIONS, Block, ParameterGraph, parameter_graph
from weightatlas.weights.spec import NetworkSpec

TOGETHER = 0.5  # correlation of neighboring pixels that is assumed
_LARGEST = 1e6  # weights beyond are cut: squares must stay finite
_NUMBERS = 2**24  # numbers held at once
_POINTS, _MASSES = np.polynomial.hermite_e.hermegauss(16)
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "leaky_relu": lambda z: F.leaky_relu(z, 0.01),
    "prelu": lambda z: F.leaky_relu(z, 0.25),
    "sin": torch.sin,
    "elu": F.elu,
}


@dataclass(frozen=True, slots=True)
class Signal:
    """What reaches the nodes of one layer.

    Args:
        mean: Of what each node receives.
        covariance: Of what two nodes receive.
        gain: Mean slope of the nonlinearity behind each node.
        out: Mean of what each node passes on.
        spread: Its standard deviation.
    """

    mean: Float[Tensor, "networks nodes"]
    covariance: Float[Tensor, "networks nodes nodes"]
    gain: Float[Tensor, "networks nodes"]
    out: Float[Tensor, "networks nodes"]
    spread: Float[Tensor, "networks nodes"]


@dataclass(frozen=True, eq=False, slots=True)
class _Wiring:
    """Where the edges of a block lie in a dense table of nodes, sources and taps."""

    sources: Int[Tensor, " sources"]
    place: Int[Tensor, " edges"]
    parts: int


def propagate(values: Float[Tensor, "networks params"], spec: NetworkSpec) -> list[list[Signal]]:
    """Follow independent standard normal channels through networks; chunks of networks, then layers.

    Every layer's inputs are taken for Gaussian with the propagated mean and covariance, taps of a kernel
    for correlated by `TOGETHER`, pooling for the identity, and layers that meet for independent. No
    network is run, and permuting neurons permutes the result.

    Args:
        values: Networks as rows.
        spec: Their layout.

    Returns:
        Per chunk of networks, a signal per layer after the inputs, in order of computation; float64.
    """
    graph = parameter_graph(spec)
    # A table of weights, and the covariance of all that is read, which is larger where few nodes read many.
    sizes = [
        len(w.sources) * max((b.nodes.stop - b.nodes.start) * w.parts, len(w.sources))
        for b, w in _wirings(spec)
    ]
    size = max(sizes)
    return [_follow(part, graph) for part in values.detach().double().split(max(_NUMBERS // max(size, 1), 1))]


def _follow(values: Tensor, graph: ParameterGraph) -> list[Signal]:
    values = values.nan_to_num(0.0).clamp(-_LARGEST, _LARGEST)
    edges, nodes = graph.edge_values(values), graph.node_values(values)
    mean = values.new_zeros(len(values), graph.nodes)
    known: list[tuple[slice, Tensor]] = []
    found = []
    for block in graph.blocks:
        if block.degree == 0:
            size = block.nodes.stop - block.nodes.start
            alone = torch.eye(size, dtype=values.dtype, device=values.device)
            known.append((block.nodes, alone.expand(len(values), -1, -1)))
            continue
        signal, passed = _layer(block, _wired(block, graph), graph, edges, nodes, mean, known)
        mean[:, block.nodes] = signal.out
        known.append((block.nodes, passed))
        found.append(signal)
    return found


def _layer(
    block: Block,
    wiring: _Wiring,
    graph: ParameterGraph,
    edges: Tensor,
    nodes: Tensor,
    mean: Tensor,
    known: list[tuple[slice, Tensor]],
) -> tuple[Signal, Tensor]:
    """Propagate one layer; also returns the covariance of what its nodes pass on."""
    count, size = len(edges), block.nodes.stop - block.nodes.start
    table = edges.new_zeros(count, size * len(wiring.sources) * wiring.parts, edges.shape[2])
    sources = wiring.sources.to(edges.device)
    table.index_add_(1, wiring.place.to(edges.device), edges[:, block.edges])
    table = table.view(count, size, len(wiring.sources), -1)
    shift, running, variance = nodes[:, block.nodes].unbind(2)
    normed = (graph.scalars[block.nodes, 2] >= 0).to(edges.device)
    scale = torch.where(normed, (variance.clamp(min=0) + 1e-5).rsqrt(), 1.0)
    table = table * scale[:, :, None, None]
    whole = table.sum(3)
    received = torch.einsum("nos,ns->no", whole, mean[:, sources]) + shift
    received = received - torch.where(normed, whole.sum(2) * running, 0.0)
    between = _between(wiring.sources, known, count, edges)
    apart = torch.einsum("nost,nsr,nprt->nop", table, between, table)
    covariance = TOGETHER * (whole @ between @ whole.transpose(1, 2)) + (1 - TOGETHER) * apart
    std = covariance.diagonal(dim1=1, dim2=2).clamp(min=1e-24).sqrt()
    gain, out, spread = _activated(received, std, graph.activation[block.nodes])
    passed = gain[:, :, None] * covariance * gain[:, None]
    # What the nonlinearity adds beyond its linear part is each node's own.
    own = (spread.square() - passed.diagonal(dim1=1, dim2=2)).clamp(min=0)
    return Signal(received, covariance, gain, out, spread), passed + torch.diag_embed(own)


def _between(sources: Tensor, known: list[tuple[slice, Tensor]], count: int, like: Tensor) -> Tensor:
    """Covariance of source nodes, numbered on the CPU; nodes of different layers are independent."""
    found = like.new_zeros(count, len(sources), len(sources))
    for nodes, covariance in known:
        inside = ((sources >= nodes.start) & (sources < nodes.stop)).nonzero().squeeze(1)
        if len(inside):
            inside, own = (places.to(like.device) for places in (inside, sources[inside] - nodes.start))
            found[:, inside[:, None], inside] = covariance[:, own[:, None], own]
    return found


def _activated(mean: Tensor, std: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean slope, mean and spread behind the nonlinearity of each node, by quadrature (Stein's lemma)."""
    points = torch.from_numpy(_POINTS).to(mean)
    masses = torch.from_numpy(_MASSES / _MASSES.sum()).to(mean)
    gain, out, spread = torch.ones_like(mean), mean.clone(), std.clone()
    for kind in torch.unique(kinds).tolist():
        function = _FUNCTIONS.get(ACTIVATIONS[kind])
        if function is None:
            continue
        here = (kinds == kind).nonzero().squeeze(1).to(mean.device)
        unit = std[:, here, None]
        answers = function(mean[:, here, None] + unit * points)
        out[:, here] = (answers * masses).sum(2)
        gain[:, here] = (answers * points * masses).sum(2) / unit[..., 0]
        spread[:, here] = ((answers - out[:, here, None]).square() * masses).sum(2).sqrt()
    return gain, out, spread


@lru_cache(maxsize=64)
def _wirings(spec: NetworkSpec) -> list[tuple[Block, _Wiring]]:
    graph = parameter_graph(spec)
    return [(block, _wired(block, graph)) for block in graph.blocks if block.degree]


def _wired(block: Block, graph: ParameterGraph) -> _Wiring:
    sources, own = torch.unique(graph.source[block.edges].long(), return_inverse=True)
    part = graph.part[block.edges].long()
    parts = int(part.max()) + 1
    size = block.nodes.stop - block.nodes.start
    node = torch.arange(size).repeat_interleave(block.degree)
    return _Wiring(sources, (node * len(sources) + own) * parts + part, parts)
