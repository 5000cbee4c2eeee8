"""Neural graphs: message passing or attention over the parameter graph of a network."""

from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

from weightatlas.config import Config
from weightatlas.encoders.base import Encoded, Encoder, encoders, one_code
from weightatlas.encoders.graph_attention import DenseAttention, EdgeAttention, dense_edges
from weightatlas.encoders.graph_input import GraphInput, pooled
from weightatlas.encoders.graph_messages import PnaLayer
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.spec import NetworkSpec


class NeuralGraphConfig(Config):
    """Settings of neural graphs.

    Args:
        kind: "gnn" (PNA messages, NG-GNN), "transformer" (attention along edges, NG-T at O(edges)) or
            "legacy" (attention over all pairs of nodes, as in the released code).
        nodes: Width of node states.
        edges: Width of edge states.
        layers: Rounds.
        heads: Attention heads.
        frame: Side of the frame of kernel taps; larger kernels are spread over parallel edges.
        fourier: Gaussian Fourier frequencies per number; 0 uses the numbers as they are.
        sigma: Standard deviation of the frequencies.
        reverse: Whether messages of "gnn" also run against the edges.
        readout: "pool" over outputs and all nodes, or "outputs" one after the other, as published, for
            networks with equally many outputs.
        outputs: How many, for "outputs".
        dropout: Dropout probability of the updates.
    """

    kind: Literal["gnn", "transformer", "legacy"] = "gnn"
    nodes: int = Field(default=64, ge=1)
    edges: int = Field(default=32, ge=1)
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=8, ge=1)
    frame: int = Field(default=3, ge=0)
    fourier: int = Field(default=0, ge=0)
    sigma: float = Field(default=1.0, gt=0)
    reverse: bool = True
    readout: Literal["pool", "outputs"] = "pool"
    outputs: int = Field(default=10, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)


@encoders.register("neural_graph")
class NeuralGraph(Encoder):
    """Nodes are neurons, edges are weights; states are exchanged along the edges (Kofinas et al., ICLR 2024).

    Invariant to hidden permutations by construction, for any architecture.

    Args:
        config: Sizes.
        spec: Takes no part.
    """

    Settings: ClassVar[type[Config]] = NeuralGraphConfig
    accepts = "any"
    name = "neural_graph"

    def __init__(self, config: NeuralGraphConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config)
        self.settings = config
        sizes = config.nodes, config.edges
        self.start = GraphInput(*sizes, config.frame, config.fourier, config.sigma)
        rest = [place < config.layers - 1 for place in range(config.layers)]
        if config.kind == "gnn":
            layers = [PnaLayer(*sizes, config.reverse, config.dropout, renew) for renew in rest]
        else:
            attention = EdgeAttention if config.kind == "transformer" else DenseAttention
            layers = [attention(*sizes, config.heads, config.dropout, renew) for renew in rest]
        self.layers = nn.ModuleList(layers)

    def adapt(self, batch: Batch) -> None:
        """Fit the scale of numbers."""
        self.start.adapt(batch)

    def encode(self, weights: Weights) -> Encoded:
        """Exchange states along the edges and read the network out."""
        graph, nodes, edges = self.start(weights)
        if self.settings.kind == "legacy":
            edges = dense_edges(graph, edges)
        for layer in self.layers:
            nodes, edges = layer(graph, nodes, edges)
        if self.settings.readout == "outputs":
            return one_code(nodes[:, graph.outputs].flatten(1))
        return one_code(pooled(graph, nodes))
