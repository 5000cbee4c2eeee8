"""First states of the nodes and edges of a parameter graph."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightatlas.encoders.magnitudes import Magnitudes
from weightatlas.encoders.perceptron import perceptron
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.graph import ACTIVATIONS, NODE_FEATURES, ParameterGraph, extended, parameter_graph
from weightatlas.weights.graph_layers import EDGE_KINDS
from weightatlas.weights.spec import NetworkSpec

_WAVES = 4  # wave lengths of each place
_PLACES = 3  # depth, depth from the end, index among inputs or outputs
_NODE = 4 + len(ACTIVATIONS) + 2 * _WAVES * _PLACES
_EDGE = EDGE_KINDS + 2 * _WAVES


class Fourier(nn.Module):
    """Gaussian Fourier features of numbers (Tancik et al., 2020), beside the numbers themselves.

    Args:
        width: Numbers per element.
        count: Random frequencies per number; 0 passes the numbers on as they are.
        sigma: Standard deviation of the frequencies.
    """

    frequency: Float[Tensor, " count"]

    def __init__(self, width: int, count: int, sigma: float) -> None:
        super().__init__()
        self.count, self.out = count, width * (1 + 2 * count)
        if count:
            self.register_buffer("frequency", torch.randn(count) * sigma * 6.283185307)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch out"]:
        """Expand each number."""
        if not self.count:
            return x
        waves = (x[..., None] * self.frequency).flatten(-2)
        return torch.cat([x, waves.sin(), waves.cos()], dim=-1)


class GraphInput(nn.Module):
    """Turns the numbers of networks into first node and edge states.

    What does not depend on the numbers (kind, depth, activation, index of inputs and outputs) is computed
    once per architecture; hidden nodes of a layer share it, so nothing tells their order.

    Args:
        nodes: Width of node states.
        edges: Width of edge states.
        frame: Side of the frame of kernel taps.
        fourier: Random frequencies per number, or 0.
        sigma: Their standard deviation.
    """

    def __init__(self, nodes: int, edges: int, frame: int, fourier: int = 0, sigma: float = 1.0) -> None:
        super().__init__()
        self.frame = frame
        self.magnitudes = Magnitudes()
        self.node_waves = Fourier(NODE_FEATURES, fourier, sigma)
        self.edge_waves = Fourier(frame**2, fourier, sigma)
        self.node = nn.Linear(self.node_waves.out, nodes)
        self.node_place = nn.Linear(_NODE, nodes)
        self.edge = nn.Linear(self.edge_waves.out, edges)
        self.edge_place = nn.Linear(_EDGE, edges)
        self.mix = perceptron((edges, edges), last=False)

    def adapt(self, batch: Batch) -> None:
        """Fit the scale of numbers."""
        self.magnitudes.adapt(batch)

    def forward(
        self, weights: Weights
    ) -> tuple[ParameterGraph, Float[Tensor, "networks nodes dim"], Float[Tensor, "networks edges width"]]:
        """Build the graph's states.

        Args:
            weights: Networks of one spec.

        Returns:
            The graph, node states and edge states.
        """
        graph = graph_on(weights.spec, self.frame, weights.values.device)
        values = extended(self.magnitudes(weights.values, weights.spec))
        node_place, edge_place = (part.to(values) for part in places(weights.spec, self.frame))
        nodes = self.node(self.node_waves(values[:, graph.scalars])) + self.node_place(node_place)
        edges = self.edge(self.edge_waves(values[:, graph.taps])) + self.edge_place(edge_place)
        return graph, nodes, self.mix(edges.relu())


@lru_cache(maxsize=64)
def graph_on(spec: NetworkSpec, frame: int, device: torch.device) -> ParameterGraph:
    """Return the graph of a spec with its index maps on a device."""
    return parameter_graph(spec, frame).to(device)


@lru_cache(maxsize=64)
def places(spec: NetworkSpec, frame: int) -> tuple[Tensor, Tensor]:
    """Describe nodes and edges of an architecture without their numbers."""
    graph = parameter_graph(spec, frame)
    depth, end = graph.depth, graph.depth.max() - graph.depth
    kind = nn.functional.one_hot(graph.node_kind.long(), 4).float()
    activation = nn.functional.one_hot(graph.activation, len(ACTIVATIONS)).float()
    node = [kind, activation, waves(depth), waves(end), waves(graph.place)]
    edge = [nn.functional.one_hot(graph.edge_kind.long(), EDGE_KINDS).float(), waves(graph.part)]
    return torch.cat(node, dim=1), torch.cat(edge, dim=1)


def waves(place: Tensor) -> Float[Tensor, "items waves"]:
    """Sine and cosine of a place at wave lengths from 4 to 1024."""
    lengths = 4.0 * 2.0 ** (8.0 * torch.arange(_WAVES) / (_WAVES - 1))
    angle = place.float()[:, None] * (2 * torch.pi / lengths)
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def pooled(
    graph: ParameterGraph, nodes: Float[Tensor, "networks nodes dim"]
) -> Float[Tensor, "networks pooled"]:
    """Read a network out: mean and maximum over its outputs, mean over all nodes; no number of them
    matters."""
    ends = nodes[:, graph.outputs]
    return torch.cat([ends.mean(1), ends.amax(1), nodes.mean(1)], dim=1)
