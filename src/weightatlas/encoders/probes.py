"""Learned probes: run the networks on learned inputs and read their outputs, alone or beside any encoder."""

from itertools import pairwise
from math import prod
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from weightatlas.config import Config
from weightatlas.encoders.base import Encoded, Encoder, encoders, one_code
from weightatlas.encoders.perceptron import perceptron
from weightatlas.errors import ConfigError, NoCode, SpecError
from weightatlas.population.forward import Population
from weightatlas.population.operations import NoProgram
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.graph import parameter_graph
from weightatlas.weights.spec import NetworkSpec

SAMPLE = 256  # training networks whose outputs set the scale


class Codes:
    """Populations by function id; shared, not copied, when an encoder is copied."""

    def __init__(self) -> None:
        self.known: dict[str, Population] = {}

    def __deepcopy__(self, _memo: dict[int, Any]) -> "Codes":
        return self

    def add(self, network: nn.Module, shape: tuple[int, ...]) -> None:
        """Learn how to run one function; the batched engine where it can, else vmap, never chosen by the
        clock."""
        spec = spec_of(network, shape)
        try:
            population = Population(network, spec, engine="batched")
            population.outputs_no_grad(torch.zeros(1, spec.params), torch.zeros(2, *shape))
        except NoProgram:
            population = Population(network, spec, engine="vmap")
        self.known[spec.function_id or spec.layout_id] = population

    def run(self, weights: Weights, inputs: Tensor) -> Float[Tensor, "networks probes outputs"]:
        """Run networks on the probes, differentiable in both.

        Raises:
            NoCode: Their code was not bound.
        """
        key = weights.spec.function_id or weights.spec.layout_id
        if key not in self.known:
            raise NoCode(
                f"Probes run the networks they encode; no code was bound for function {key}.",
                todo="Call encoder.bind(network) once per architecture, for example zoo.network(spec).",
            )
        return self.known[key](weights.values, inputs)


class ProbesConfig(Config):
    """Settings of learned probes.

    Args:
        probes: How many inputs.
        generator: "free" learns the inputs themselves, "linear" a chain of linear maps that makes them,
            without nonlinearities, as in ProbeGen.
        latent: Width of that chain.
        depth: Linear maps in it.
        hidden: Widths of the perceptron that reads the outputs; the last is the embedding.
        dropout: Dropout probability after every layer of it.
    """

    probes: int = Field(default=64, ge=1)
    generator: Literal["free", "linear"] = "free"
    latent: int = Field(default=64, ge=1)
    depth: int = Field(default=3, ge=1)
    hidden: tuple[int, ...] = (256, 128)
    dropout: float = Field(default=0.0, ge=0, lt=1)


@encoders.register("probes")
class Probes(Encoder):
    """What a network answers to learned inputs; the inputs are trained along (ProbeGen, ICLR 2025).

    It never looks at weights, so every symmetry of the network is respected, and any architectures with
    one input shape and number of outputs may be mixed. `bind` gives it the code of each of them and, once,
    inputs to start from.

    Args:
        config: Number of probes and sizes.
        spec: Any of the networks, traced; it tells the input shape and the number of outputs.
    """

    Settings: ClassVar[type[Config]] = ProbesConfig
    accepts = "family"
    name = "probes"
    executes = True
    size: Float[Tensor, ""]
    started: Tensor

    def __init__(self, config: ProbesConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config, spec)
        if spec is None or spec.input_shape is None:
            raise SpecError("The encoder 'probes' needs a traced spec with an input shape.")
        self.shape = spec.input_shape
        self.codes = Codes()
        self.answers = len(parameter_graph(spec).outputs)
        if config.generator == "free":
            self.inputs = nn.Parameter(torch.rand(config.probes, *self.shape) * 2 - 1)
        else:
            self.inputs = nn.Parameter(torch.randn(config.probes, config.latent))
            sizes = (*(config.latent,) * config.depth, prod(self.shape))
            chain = [nn.Linear(before, after) for before, after in pairwise(sizes)]
            self.chain = nn.Sequential(*chain)
        self.register_buffer("size", torch.ones(()))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        several = 2 if self.answers > 1 else 1
        width = config.probes * self.answers * several
        self.body = nn.Sequential(nn.LayerNorm(width), *perceptron((width, *config.hidden), config.dropout))

    @torch.no_grad()
    def bind(self, network: nn.Module, inputs: Tensor | None = None) -> None:
        """Give the code of one architecture and, once, inputs from which free probes start.

        Args:
            network: Any network of the architecture; its own weights are ignored.
            inputs: Unlabelled inputs; probes that were started before keep what they have.
        """
        self.codes.add(network, self.shape)
        free = tuple(self.inputs.shape[1:]) == self.shape and not hasattr(self, "chain")
        if inputs is None or not free or bool(self.started):
            return
        chosen = torch.arange(len(self.inputs)) * max(len(inputs) // len(self.inputs), 1) % len(inputs)
        self.inputs.copy_(inputs[chosen.to(inputs.device)])
        self.started.fill_(True)

    def probes(self) -> Float[Tensor, "probes *rest"]:
        """The inputs on which networks are run."""
        if not hasattr(self, "chain"):
            return self.inputs
        return self.chain(self.inputs).unflatten(1, self.shape)

    @torch.no_grad()
    def adapt(self, batch: Batch) -> None:
        """Fit the size of the outputs on some of the training networks."""
        share = max(len(batch) // SAMPLE, 1)
        found = [self._outputs(Weights(g.values[::share], g.spec, g.rows[::share])).flatten() for g in batch]
        self.size.copy_(torch.cat(found).abs().mean().clamp(1e-6, 1e6))

    def encode(self, weights: Weights) -> Encoded:
        """Run networks on the probes and read their outputs."""
        self.require(weights.spec)
        outputs = self._outputs(weights)
        parts = [torch.asinh(outputs / self.size)]
        if self.answers > 1:
            parts.append(outputs.softmax(-1) * self.answers)
        return one_code(self.body(torch.cat(parts, dim=-1).flatten(1)))

    def require(self, spec: NetworkSpec) -> None:
        """Refuse networks with other inputs or another number of outputs.

        Raises:
            SpecError: They differ.
        """
        shape, answers = spec.input_shape, len(parameter_graph(spec).outputs)
        if shape != self.shape or answers != self.answers:
            raise SpecError(
                f"The encoder 'probes' was made for inputs {self.shape} and {self.answers} outputs, these "
                f"networks have {shape} and {answers}."
            )

    def _outputs(self, weights: Weights) -> Tensor:
        outputs = self.codes.run(weights, self.probes())
        # A network whose weights ran away must not fill the batch with infinities.
        return outputs.nan_to_num(0.0, 1e12, -1e12).clamp(-1e12, 1e12)


class ProbedConfig(Config):
    """Settings of an encoder with probes beside it.

    Args:
        encoder: Name of the encoder.
        settings: Its settings.
        probes: The probes.
    """

    encoder: str = "dng"
    settings: dict[str, Any] = {}
    probes: ProbesConfig = ProbesConfig()


@encoders.register("probed")
class Probed(Encoder):
    """Any encoder of weights, with what the networks answer to learned probes beside its embedding.

    Args:
        config: Which encoder, and the probes.
        spec: Any of the networks, traced; an encoder of one layout accepts only this one.
    """

    Settings: ClassVar[type[Config]] = ProbedConfig
    accepts = "family"
    name = "probed"
    executes = True

    def __init__(self, config: ProbedConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config, spec)
        if config.encoder in ("probes", "probed"):
            raise ConfigError(f"'{config.encoder}' has probes already.", todo="Name an encoder of weights.")
        factory: Any = encoders.get(config.encoder)
        settings = factory.Settings.build(
            config.settings, where=f"Settings of the encoder '{config.encoder}'."
        )
        self.inner: Encoder = factory(settings, spec)
        self.probes = Probes(config.probes, spec)

    def bind(self, network: nn.Module, inputs: Tensor | None = None) -> None:
        """Give the code of one architecture to whoever runs networks."""
        self.probes.bind(network, inputs)
        if self.inner.executes:
            self.inner.bind(network, inputs)

    def adapt(self, batch: Batch) -> None:
        """Adapt both."""
        self.inner.adapt(batch)
        self.probes.adapt(batch)

    def encode(self, weights: Weights) -> Encoded:
        """Join both embeddings."""
        self.require(weights.spec)
        parts = [self.inner.encode(weights).embedding, self.probes.encode(weights).embedding]
        return one_code(torch.cat(parts, dim=1))

    def require(self, spec: NetworkSpec) -> None:
        """Refuse what either refuses.

        Raises:
            SpecError: The inner encoder or the probes do not fit.
        """
        self.inner.require(spec)
        self.probes.require(spec)
