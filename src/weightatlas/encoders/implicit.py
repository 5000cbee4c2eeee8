"""inr2vec in small: weights -> embedding -> a decoder that answers for coordinates, not with weights."""

from itertools import pairwise
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from weightatlas.config import Config
from weightatlas.encoders.base import Autoencoder, Decoded, Encoded, encoders, one_code
from weightatlas.errors import SpecError
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.spec import NetworkSpec


class ImplicitConfig(Config):
    """Settings of the implicit autoencoder.

    Args:
        dim: Numbers of the embedding.
        rows: Width of the layers that read each row of weights.
        width: Width of the decoder's layers.
        octaves: Frequencies, each twice the one before, at which coordinates are read.
        dropout: On the standardized weights.
    """

    dim: int = Field(default=128, ge=1)
    rows: int = Field(default=128, ge=1)
    width: int = Field(default=256, ge=1)
    octaves: int = Field(default=4, ge=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)


@encoders.register("implicit")
class Implicit(Autoencoder):
    """Reads weights neuron by neuron, decodes to a function of coordinates: inr2vec (De Luigi et al., 2023).

    As published, rows go through one shared perceptron, and a maximum over them gives the embedding. Here
    a row is one hidden neuron (what enters it, its bias, what leaves it), with a learned mark of its place,
    because first weights are shared. The decoder is linear in the embedding: coordinate functions, learned
    once for all signals, weighted by it, so that a step runs them once for all networks; the published one
    runs a perceptron per network.

    Args:
        config: Sizes.
        spec: A perceptron's layout with one input axis, such as a SIREN's.
    """

    Settings: ClassVar[type[Config]] = ImplicitConfig
    accepts: ClassVar[Literal["one", "family", "any"]] = "one"
    name = "implicit"
    decodes_weights = False
    config: ImplicitConfig
    octave: Float[Tensor, " octaves"]
    mean: Float[Tensor, " params"]
    std: Float[Tensor, " params"]

    def __init__(self, config: ImplicitConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config, spec)
        if spec is None:
            raise SpecError("The encoder 'implicit' works on one layout: pass it as `spec`.")
        matrices = [tensor for tensor in spec.tensors if tensor.role == "weight"]
        if len(matrices) < 2 or any(len(tensor.shape) != 2 for tensor in matrices):
            raise SpecError("The encoder 'implicit' reads perceptrons of two layers or more.")
        self.layout, self.matrices = spec, [tensor.name for tensor in matrices]
        self.inputs, self.answers = matrices[0].shape[1], matrices[-1].shape[0]
        sizes = [(a.shape[1] + 1 + b.shape[0], a.shape[0]) for a, b in pairwise(matrices)]
        self.enter = nn.ModuleList([nn.Linear(size, config.rows) for size, _ in sizes])
        self.places = nn.ParameterList([nn.Parameter(0.1 * torch.randn(n, config.rows)) for _, n in sizes])
        self.read = nn.Sequential(
            nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(config.rows, 2 * config.rows)
        )
        self.embed_rows = nn.Linear(4 * config.rows, config.dim)
        octave = 3.14159 * 2.0 ** torch.arange(config.octaves)
        self.register_buffer("octave", octave, persistent=False)
        wide = self.inputs * (1 + 2 * config.octaves)
        self.first = nn.Sequential(
            nn.Linear(wide, config.width), nn.ReLU(), nn.Linear(config.width, config.width)
        )
        self.skip = nn.Linear(wide, config.width)
        self.last = nn.Sequential(
            *(nn.ReLU(), nn.Linear(config.width, config.width), nn.ReLU()),
            nn.Linear(config.width, (config.dim + 1) * self.answers),
        )
        self.register_buffer("mean", torch.zeros(spec.params))
        self.register_buffer("std", torch.ones(spec.params))

    @torch.no_grad()
    def adapt(self, batch: Batch) -> None:
        """Standardize every weight by training networks, which share their first weights."""
        values = torch.cat([group.values for group in batch]).to(self.mean)
        self.mean.copy_(values.mean(0))
        self.std.copy_(values.std(0, correction=0).clamp(min=1e-4))

    def encode(self, weights: Weights) -> Encoded:
        """Embed networks: the maximum and the mean over their neurons."""
        self.require(weights.spec)
        values = (weights.values - self.mean) / self.std
        rows = [
            self.read(enter(neurons) + place)
            for enter, place, neurons in zip(self.enter, self.places, self._neurons(values), strict=True)
        ]
        joined = torch.cat(rows, dim=1)
        codes = self.embed_rows(torch.cat([joined.amax(1), joined.mean(1)], dim=1))
        return one_code(codes)

    def _neurons(self, values: Float[Tensor, "networks params"]) -> list[Tensor]:
        """Cut weights into hidden neurons: what enters, the bias, what leaves."""
        spec, found = self.layout, []
        shapes = {tensor.name: tensor.shape for tensor in spec.tensors}
        for name, after in pairwise(self.matrices):
            bias = name.removesuffix("weight") + "bias"
            parts = [values[:, spec.slices[name]].view(-1, *shapes[name])]
            parts.append(values[:, spec.slices[bias]][..., None])
            parts.append(values[:, spec.slices[after]].view(-1, *shapes[after]).transpose(1, 2))
            found.append(torch.cat(parts, dim=2))
        return found

    def code_shape(self, spec: NetworkSpec) -> tuple[int, int]:
        """Return (1, dim)."""
        return 1, self.config.dim

    def decode(self, codes: Float[Tensor, "networks codes width"], spec: NetworkSpec) -> Decoded:
        """Refuse: an implicit decoder has no weights to give.

        Raises:
            SpecError: Always.
        """
        raise SpecError(
            "The encoder 'implicit' decodes to functions of coordinates, not to weights.",
            todo="Use encoder.outputs(codes, spec, points), or an encoder that decodes weights.",
        )

    def outputs(
        self, codes: Float[Tensor, "networks codes width"], spec: NetworkSpec, inputs: Tensor
    ) -> Float[Tensor, "networks queries answers"]:
        """Answer for coordinates that all networks share.

        Args:
            codes: Embeddings, shape `(networks, 1, dim)`.
            spec: Layout of the encoded networks.
            inputs: Points, shape `(queries, coordinates)`.
        """
        self.require(spec)
        turned = (inputs[..., None] * self.octave).flatten(1)
        wide = torch.cat([inputs, turned.sin(), turned.cos()], dim=1)
        functions = self.last(self.first(wide) + self.skip(wide)).view(len(inputs), self.answers, -1)
        weighted = torch.einsum("qad,nd->nqa", functions[..., :-1], codes[:, 0])
        return weighted / self.config.dim**0.5 + functions[..., -1]
