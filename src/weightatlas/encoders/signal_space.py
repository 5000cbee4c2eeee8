"""A space of signals in closed form: PCA of weights, measured by how much they move the outputs."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from weightatlas.config import Config
from weightatlas.encoders.base import Autoencoder, Decoded, Encoded, encoders, one_code, with_variances
from weightatlas.encoders.charts import Chart
from weightatlas.errors import NoCode, SpecError
from weightatlas.population.forward import Population
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.spec import NetworkSpec

_FLOOR = 1e-6  # share of the largest eigenvalue that every direction counts at least


class SignalSpaceConfig(Config):
    """Settings of the closed-form space.

    Args:
        dim: Numbers of the code.
        networks: Training networks whose derivatives are measured.
        points: Points at which those of each are measured.
        shrink: Share of a diagonal covariance in that of the weights; with 0 codes only span what training
            networks differ in, with 1 they know nothing of which weights move together.
    """

    dim: int = Field(default=1024, ge=1)
    networks: int = Field(default=24, ge=1)
    points: int = Field(default=512, ge=1)
    shrink: float = Field(default=0.5, ge=0, le=1)


@encoders.register("signal_space")
class SignalSpace(Autoencoder):
    """Codes along the directions in which weights of training networks differ and outputs feel it.

    With `G` the mean of `J^T J` over training networks and points (`J` the derivatives of outputs in the
    weights) and `C` the covariance of the weights, shrunk towards its diagonal, the directions are
    the leading eigenvectors of `G^(1/2) C G^(1/2)`: PCA in the metric of outputs. Made for networks that
    share their first weights. `bind` gives it code to run the networks, and points; only `adapt` needs them.

    Args:
        config: Numbers of the code and of what is measured.
        spec: The architecture.
    """

    Settings: ClassVar[type[Config]] = SignalSpaceConfig
    accepts: ClassVar[Literal["one", "family", "any"]] = "one"
    name = "signal_space"
    executes = True
    closed_form = True
    config: SignalSpaceConfig
    mean: Float[Tensor, " params"]
    into: Float[Tensor, "params dim"]
    back: Float[Tensor, "dim params"]

    def __init__(self, config: SignalSpaceConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config, spec)
        if spec is None:
            raise SpecError("The encoder 'signal_space' works on one layout: pass it as `spec`.")
        self.layout = spec
        self.population: Population | None = None
        self.points: Tensor | None = None
        self.register_buffer("mean", torch.zeros(spec.params))
        self.register_buffer("into", torch.zeros(spec.params, config.dim))
        self.register_buffer("back", torch.zeros(config.dim, spec.params))

    def bind(self, network: nn.Module, inputs: Tensor | None = None) -> None:
        """Give it the code of the networks and, once, the points where derivatives are measured."""
        self.population = Population(network, self.layout, engine="vmap")
        self.points = self.points if inputs is None else inputs

    @torch.no_grad()
    def adapt(self, batch: Batch) -> None:
        """Find the directions.

        Raises:
            NoCode: The networks' code and points were not bound.
        """
        values = torch.cat([group.values for group in batch]).to(self.mean)
        self.mean.copy_(values.mean(0))
        gram = self._gram(values[: self.config.networks])
        size, axes = torch.linalg.eigh(gram)
        root = (size.clamp(min=0) + _FLOOR * size.max().clamp(min=1e-12)).sqrt()
        spread = self._spread(values - self.mean, axes * root)
        found, turned = torch.linalg.eigh(spread)
        kept = min(self.config.dim, len(found))
        scale, turned = found.flip(0)[:kept].clamp(min=0).sqrt(), turned.flip(1)[:, :kept]
        usable = scale > 1e-6 * scale.max().clamp(min=1e-12)
        inverse = torch.where(usable, 1 / scale.clamp(min=1e-30), 0.0)
        self.into[:, :kept] = (axes * root) @ turned * inverse
        self.back[:kept] = ((axes / root) @ turned * torch.where(usable, scale, 0.0)).T

    def _gram(self, values: Float[Tensor, "networks params"]) -> Float[Tensor, "params params"]:
        """Average the outer products of output derivatives."""
        if self.population is None or self.points is None:
            raise NoCode(
                "The encoder 'signal_space' runs the networks it adapts to; no code was bound.",
                todo="Call encoder.bind(network, points) first.",
            )
        total, count = torch.zeros(values.shape[1], values.shape[1]).to(values), 0
        stride = max(len(self.points) // len(values), 1)
        for row, value in enumerate(values):
            rolled = self.points.roll(-row * stride, 0)[: self.config.points]
            for part in rolled.to(values).split(256):
                slopes = derivatives(self.population, value, part)
                total, count = total + slopes.T @ slopes, count + len(slopes)
        return total / count

    def _spread(
        self, values: Float[Tensor, "networks params"], metric: Float[Tensor, "params params"]
    ) -> Float[Tensor, "params params"]:
        """Covariance of the weights, shrunk to its diagonal, seen in the metric."""
        shrink, moved = self.config.shrink, values @ metric
        diagonal = values.square().mean(0)[:, None] * metric
        return (1 - shrink) * moved.T @ moved / len(values) + shrink * metric.T @ diagonal

    def encode(self, weights: Weights) -> Encoded:
        """Code networks by their coordinates, which have unit variance about."""
        self.require(weights.spec)
        codes = (weights.values - self.mean) @ self.into
        return one_code(codes)

    def code_shape(self, spec: NetworkSpec) -> tuple[int, int]:
        """Return (1, dim)."""
        return 1, self.config.dim

    def decode(self, codes: Float[Tensor, "networks codes width"], spec: NetworkSpec) -> Decoded:
        """Rebuild networks: the mean network plus directions."""
        self.require(spec)
        if codes.shape[1:] != self.code_shape(spec):
            raise SpecError(f"Codes have shape {tuple(codes.shape[1:])}, expected {self.code_shape(spec)}.")
        return Decoded(with_variances(self.mean + codes[:, 0] @ self.back, spec))

    def chart(self, codes: Float[Tensor, "networks codes width"], spec: NetworkSpec) -> Chart:
        """Say how codes are refined: as they are, with steps that suit their unit variance."""
        chart = super().chart(codes, spec)
        chart.lr = 0.3
        return chart


def derivatives(
    population: Population, value: Float[Tensor, " params"], points: Float[Tensor, "points *shape"]
) -> Float[Tensor, "slopes params"]:
    """Derivatives of every output of one network at every point, a row each.

    Args:
        population: Runs networks.
        value: The network.
        points: Inputs.
    """
    with torch.enable_grad():
        # A row of its own per point keeps their derivatives apart.
        rows = value.expand(len(points), -1).detach().clone().requires_grad_()
        outputs = population(rows, points[:, None], shared=False).flatten(1)
        found = [torch.autograd.grad(part.sum(), rows, retain_graph=True)[0] for part in outputs.unbind(1)]
    return torch.cat(found)
