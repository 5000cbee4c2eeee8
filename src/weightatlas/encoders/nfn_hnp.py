"""NFN-HNP: equivariant layers that permute hidden neurons only (Zhou et al., 2023)."""

from itertools import pairwise
from typing import ClassVar

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from weightatlas.config import Config
from weightatlas.encoders.base import encoders
from weightatlas.encoders.equivariant import ChannelDropout, EquivariantLinear, features_of, pool
from weightatlas.encoders.neural_functional import FunctionalConfig, FunctionalEncoder
from weightatlas.weights.spec import NetworkSpec


class NfnConfig(FunctionalConfig):
    """Settings of the neural functional networks.

    Args:
        channels: Channels of each equivariant layer.
        dropout: Probability of dropping a channel after each layer.
        embed_ends: Give every input and output neuron a learned vector in each layer (NP only).
    """

    channels: tuple[int, ...] = (16, 16, 5)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    embed_ends: bool = True


class Nfn(FunctionalEncoder):
    """Equivariant linear layers with ReLUs, then invariant pooling.

    Args:
        config: Settings.
        spec: Layout of the networks, with its permutation groups.
    """

    Settings: ClassVar[type[Config]] = NfnConfig

    def __init__(self, config: NfnConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config, spec)
        widths = (self.channels, *config.channels)
        self.layers = nn.ModuleList(
            EquivariantLinear(self.layout, before, after, self.ends and config.embed_ends)
            for before, after in pairwise(widths)
        )
        self.dropouts = nn.ModuleList(ChannelDropout(self.layout, c, config.dropout) for c in config.channels)
        self.last = widths[-1]

    def describe(self, values: Float[Tensor, "networks params"]) -> Float[Tensor, "networks dim"]:
        """Compute the pooled features of networks."""
        x = features_of(self.inputs(values), self.layout)
        for layer, dropout in zip(self.layers, self.dropouts, strict=True):
            x = dropout(layer(x, relu=True))
        return pool(x, self.layout, self.last, self.settings.pool == "hnp")


@encoders.register("nfn_hnp")
class NfnHnp(Nfn):
    """NFN-HNP: input and output neurons keep their identity, each by its own features."""

    name = "nfn_hnp"
