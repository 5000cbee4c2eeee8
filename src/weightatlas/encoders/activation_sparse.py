"""Sparse activation codes: the largest coordinates of each network, not the same for all (ours)."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from weightatlas.config import Config
from weightatlas.encoders.activation import Activation, ActivationConfig
from weightatlas.encoders.activation_chart import last_layer_chart
from weightatlas.encoders.base import Autoencoder, Decoded, Encoded, encoders
from weightatlas.encoders.charts import Chart
from weightatlas.encoders.selection import Selection, even_kept, share_kept
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.spec import NetworkSpec


@encoders.register("activation_sparse")
class ActivationSparse(Autoencoder):
    """Activation codes of all coordinates, of which each network keeps its largest.

    Codes have a place for every coordinate, and zeros where a network keeps none. Stored are the numbers that
    are kept and one bit per place; `code_numbers` counts both, in numbers of 32 bits.

    Example:
        >>> from weightatlas.symmetry.verify import spec_of
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> encoder = ActivationSparse(ActivationConfig(images=16), spec_of(network, (4,)))
        >>> encoder.bind(network, torch.randn(16, 4))
        >>> encoder.code_shape(encoder.spec), encoder.code_numbers(encoder.spec)
        ((1, 67), 37)

    Args:
        config: Code size, marks included, and pool.
        spec: Layout of the networks.
    """

    Settings: ClassVar[type[Config]] = ActivationConfig
    accepts = "one"
    name = "activation_sparse"
    executes = True
    closed_form = True
    unit: Float[Tensor, " numbers"]
    kept: Int[Tensor, " numbers"]

    def __init__(self, config: ActivationConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config, spec)
        self.whole = Activation(config.replace(ratio=1.0), spec)
        self.budget = int(self.whole.layout.params / config.ratio)
        numbers = self.whole.budget
        self.register_buffer("unit", torch.ones(numbers))
        self.register_buffer("kept", even_kept(*self._parts(), self.budget))

    def bind(self, network: nn.Module, inputs: Tensor | None = None) -> None:
        """Give the encoder the code of the networks and, once, unlabelled inputs to run them on."""
        self.whole.bind(network, inputs)

    @torch.no_grad()
    def adapt(self, batch: Batch) -> None:
        """Measure the unit of every number on training networks, and share what may be kept."""
        self.whole.adapt(batch)
        values = torch.cat([group.values for group in batch])
        step = max(len(values) // self.whole.settings.sample, 1)
        some = values[::step][: self.whole.settings.sample]
        codes = self.whole.encode(Weights(some, self.whole.layout, torch.arange(len(some)))).codes
        self.unit.copy_(self.whole.units(codes))
        self.kept.copy_(share_kept(codes[:, 0], self.unit, *self._parts(), self.budget))

    @property
    def selection(self) -> Selection:
        """What is kept."""
        return Selection(self.unit, self.kept)

    def encode(self, weights: Weights) -> Encoded:
        """Fit codes layer by layer; later layers make up for what earlier ones left out."""
        self.require(weights.spec)
        return self.whole.encode_rounded(weights, self.selection)

    def decode(self, codes: Float[Tensor, "networks codes width"], spec: NetworkSpec) -> Decoded:
        """Rebuild networks layer by layer."""
        self.require(spec)
        return self.whole.decode(codes, spec)

    def code_shape(self, spec: NetworkSpec) -> tuple[int, int]:
        """Return (1, places): one for every coordinate, most of them zero if the ratio is high."""
        self.require(spec)
        return 1, self.whole.budget

    def code_numbers(self, spec: NetworkSpec) -> int:
        """Numbers of 32 bits in one code: those kept, and the marks that say which."""
        self.require(spec)
        return self.budget

    def chart(self, codes: Float[Tensor, "networks codes width"], spec: NetworkSpec) -> Chart:
        """Refine the last layer alone, at the coordinates a code keeps.

        Eigenvectors turn as soon as an earlier layer moves, and what was sparse on the old ones is not on the
        new ones: moving all layers made networks worse.
        """
        self.require(spec)
        return last_layer_chart(self.whole, codes, self.budget)

    def _parts(self) -> tuple[list[slice], int]:
        return self.whole.places(), len(self.whole.raw)
