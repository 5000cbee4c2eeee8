"""What autoencoders of PReps share: a ladder of architectures, one code, and the class a code stands for."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from weightatlas.config import Config
from weightatlas.encoders.base import Autoencoder, Decoded, Encoded, one_code
from weightatlas.errors import SpecError
from weightatlas.weights.batch import Weights
from weightatlas.weights.prep import PrepConfig, PrepLayout, layout
from weightatlas.weights.spec import NetworkSpec

LEAK = 0.01  # slope of every LeakyReLU of NetSpace


class PrepSettings(Config):
    """Settings that all autoencoders of PReps have.

    Args:
        ladder: Architectures the space holds, smallest first; their places are the classes. Architectures
            that no training network has belong here too. None takes the spec the encoder is made for.
        dim: Numbers of the code.
        width: Parameters in a row of the PRep.
        height: Rows of the PRep; none takes as few as hold the largest architecture.
        affine_weight: Multiply every place of the decoded PRep by a learned number.
        affine_bias: Add a learned number to every place: a base network that all codes share.
    """

    ladder: tuple[NetworkSpec, ...] = ()
    dim: int = Field(default=64, ge=1)
    width: int = Field(default=64, ge=1)
    height: int | None = Field(default=None, ge=1)
    affine_weight: bool = True
    affine_bias: bool = True

    @model_validator(mode="after")
    def _sorted(self) -> "PrepSettings":
        sizes = [spec.params for spec in self.ladder]
        if sizes != sorted(sizes):
            raise ValueError(f"the ladder must go from small to large, it has {sizes} parameters")
        if len({spec.layout_id for spec in self.ladder}) < len(self.ladder):
            raise ValueError("two architectures of the ladder have the same layout")
        return self


class PrepAutoencoder(Autoencoder):
    """Encodes networks of a few architectures to one code of one size each.

    Args:
        config: Sizes and options.
        spec: The architecture, if there is only one.
    """

    accepts: ClassVar[Literal["one", "family", "any"]] = "family"
    config: PrepSettings

    def __init__(self, config: PrepSettings, spec: NetworkSpec | None = None) -> None:
        super().__init__(config, spec)
        self.ladder: tuple[NetworkSpec, ...] = config.ladder or (() if spec is None else (spec,))
        if not self.ladder:
            raise SpecError(
                f"The encoder '{self.name}' works on known architectures.", todo="Pass `ladder` or `spec`."
            )
        norms = [t.name for known in self.ladder for t in known.tensors if t.role == "running_var"]
        if norms:
            raise SpecError(
                f"PReps hold weights and biases; these networks have norms with statistics ({norms[0]}).",
                todo="Fold them first: weights.prep.folded(values, spec).",
            )
        with torch.device("cpu"):  # Index maps are data, also where parameters are on the meta device.
            height = config.height or max(_plan(spec, config).shape[0] for spec in self.ladder)
            fixed = config.replace(height=height)
            self.plans: tuple[PrepLayout, ...] = tuple(_plan(spec, fixed) for spec in self.ladder)
        self.height, self.width = height, config.width

    def require(self, spec: NetworkSpec) -> None:
        """Refuse an architecture that is not on the ladder.

        Raises:
            SpecError: None of the ladder has this layout.
        """
        self.rung(spec)

    def rung(self, spec: NetworkSpec) -> int:
        """Return the class of an architecture: its place on the ladder.

        Raises:
            SpecError: None of the ladder has this layout.
        """
        for place, known in enumerate(self.ladder):
            if known.layout_id == spec.layout_id:
                return place
        sizes = ", ".join(f"{known.params:,}" for known in self.ladder)
        raise SpecError(
            f"The encoder '{self.name}' knows {len(self.ladder)} architectures ({sizes} parameters), these "
            f"networks have another layout ({spec.params:,} parameters).",
            todo="Fit an encoder whose ladder holds this architecture. Batch norms must be folded first.",
        )

    def encode(self, weights: Weights) -> Encoded:
        """Code networks of one architecture; the code is the embedding."""
        codes = self.embedding(weights, self.rung(weights.spec)).float()
        return one_code(codes)

    def code_shape(self, spec: NetworkSpec) -> tuple[int, int]:
        """Return (1, dim): the code has the same size for every architecture."""
        self.rung(spec)
        return 1, self.config.dim

    def decode(self, codes: Float[Tensor, "networks codes width"], spec: NetworkSpec) -> Decoded:
        """Rebuild networks of `spec`; with several architectures "class" holds what the code stands for."""
        rung = self.rung(spec)
        if codes.shape[1:] != self.code_shape(spec):
            raise SpecError(f"Codes have shape {tuple(codes.shape[1:])}, expected {self.code_shape(spec)}.")
        aux = {"class": self.classify(codes)} if len(self.ladder) > 1 else {}
        return Decoded(self.weights(codes[:, 0], rung).float(), aux)

    def classes(self, codes: Float[Tensor, "networks 1 dim"]) -> Int[Tensor, " networks"]:
        """Return the place on the ladder that each code stands for."""
        return self.classify(codes).argmax(1)

    @abstractmethod
    def embedding(self, weights: Weights, rung: int) -> Float[Tensor, "networks dim"]:
        """Code networks of one place of the ladder."""

    @abstractmethod
    def weights(self, codes: Float[Tensor, "networks dim"], rung: int) -> Float[Tensor, "networks params"]:
        """Decode networks of one place of the ladder."""

    @abstractmethod
    def classify(self, codes: Float[Tensor, "networks 1 dim"]) -> Float[Tensor, "networks classes"]:
        """Score the places of the ladder; with one architecture there is nothing to choose."""


class Affine(nn.Module):
    """One number to multiply and one to add for every place of a PRep, each of which may be left out.

    Args:
        weight: First factors, or none.
        bias: First summands, or none.
    """

    def __init__(self, weight: Tensor | None, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = None if weight is None else nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)

    def forward(self, x: Tensor, place: int | Sequence[int] | slice = slice(None)) -> Tensor:
        """Apply to PReps; `place` picks one of several sets."""
        x = x if self.weight is None else x * self.weight[place]
        return x if self.bias is None else x + self.bias[place]


def _plan(spec: NetworkSpec, config: PrepSettings) -> PrepLayout:
    sizes = PrepConfig(width=config.width, height=config.height)
    return layout(spec, sizes)  # pyright: ignore[reportArgumentType]
