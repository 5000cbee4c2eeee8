"""Dynamic neural graph: one sweep from the inputs to the outputs of a network."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from weightatlas.config import Config
from weightatlas.encoders.base import Encoded, Encoder, encoders, one_code
from weightatlas.encoders.graph_input import GraphInput, pooled
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.graph import Block
from weightatlas.weights.spec import NetworkSpec


class DngConfig(Config):
    """Settings of the dynamic neural graph.

    Args:
        dim: Width of node states.
        edges: Width of edge states.
        frame: Side of the frame of kernel taps.
        fourier: Gaussian Fourier frequencies per number; 0 uses the numbers as they are.
        sigma: Standard deviation of the frequencies.
    """

    dim: int = Field(default=64, ge=1)
    edges: int = Field(default=64, ge=1)
    frame: int = Field(default=3, ge=0)
    fourier: int = Field(default=0, ge=0)
    sigma: float = Field(default=1.0, gt=0)


@encoders.register("dng")
class Dng(Encoder):
    """Follows the computation of the network once, layer by layer, neurons with recurrent states.

    A neuron's message is the sum of its edges' projections times the states they come from; its state is the
    norm of a GRU that starts at the message and reads the bias (Dynamic Neural Graph, TMLR 2026). The same
    weights serve every layer, so any depth and any architecture will do; cost O(edges), one pass.

    Args:
        config: Sizes.
        spec: Takes no part.
    """

    Settings: ClassVar[type[Config]] = DngConfig
    accepts = "any"
    name = "dng"

    def __init__(self, config: DngConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config)
        dim = config.dim
        self.start = GraphInput(dim, config.edges, config.frame, config.fourier, config.sigma)
        self.edge = nn.Linear(config.edges, dim)
        self.state = nn.Linear(dim, dim)
        self.cell = nn.GRUCell(dim, dim)
        self.norm = nn.LayerNorm(dim)

    def adapt(self, batch: Batch) -> None:
        """Fit the scale of numbers."""
        self.start.adapt(batch)

    def encode(self, weights: Weights) -> Encoded:
        """Sweep over the blocks of the graph in order of computation."""
        graph, nodes, edges = self.start(weights)
        relations = self.edge(edges)
        states = nodes.new_empty(len(nodes), 0, nodes.shape[2])
        projected = states
        for block in graph.blocks:
            fresh = self._block(block, graph.source, nodes[:, block.nodes], relations, projected)
            states = torch.cat([states, fresh], dim=1)
            projected = torch.cat([projected, self.state(fresh)], dim=1)
        return one_code(pooled(graph, states))

    def _block(
        self, block: Block, source: Tensor, nodes: Tensor, relations: Tensor, projected: Tensor
    ) -> Tensor:
        """States of one layer's neurons from those of the layers before."""
        count, size, dim = nodes.shape
        message = nodes.new_zeros(count * size, dim)
        if block.degree:
            terms = relations[:, block.edges] * projected[:, source[block.edges]]
            # Divided as a sum of independent terms grows, so that wide and narrow layers look alike.
            message = terms.reshape(count * size, block.degree, dim).sum(1) / block.degree**0.5
        return self.norm(self.cell(nodes.reshape(-1, dim), message)).reshape(count, size, dim)
