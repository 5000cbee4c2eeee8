"""What every encoder and autoencoder promises."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from weightatlas.config import Config
from weightatlas.encoders.charts import Chart
from weightatlas.errors import SpecError
from weightatlas.registry import Registry
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.spec import NetworkSpec

encoders: "Registry[Encoder]" = Registry("encoder")


@dataclass(frozen=True, slots=True)
class Encoded:
    """What an encoder says about the networks of one spec.

    Args:
        codes: Latent codes, shape `(networks, codes, width)`; one global code has `codes == 1`.
        mask: True where a code carries something, shape `(networks, codes)`.
        embedding: One vector per network for comparison and prediction, shape `(networks, dim)`.
        aux: Further tensors a method's own objectives need.
    """

    codes: Float[Tensor, "networks codes width"]
    mask: Bool[Tensor, "networks codes"]
    embedding: Float[Tensor, "networks dim"]
    aux: dict[str, Tensor] = field(default_factory=dict)


def full_mask(codes: Float[Tensor, "networks codes width"]) -> Bool[Tensor, "networks codes"]:
    """Mark every code as real."""
    return torch.ones(codes.shape[:2], dtype=torch.bool, device=codes.device)


def one_code(embedding: Float[Tensor, "networks dim"]) -> Encoded:
    """Take an embedding as the one code of each network."""
    codes = embedding[:, None]
    return Encoded(codes, full_mask(codes), embedding)


@dataclass(frozen=True, slots=True)
class Decoded:
    """Networks rebuilt from codes.

    Args:
        weights: Flat weights of one spec, shape `(networks, params)`, in the units of the originals.
        aux: Further tensors a method's own objectives need.
    """

    weights: Float[Tensor, "networks params"]
    aux: dict[str, Tensor] = field(default_factory=dict)


class Encoder(nn.Module, ABC):
    """Maps networks to embeddings. Subclasses are final and take their `config` as only setting.

    Class attributes:
        Settings: The `Config` class of the method; constructor arguments = saved config.
        accepts: "one" layout (given to the constructor), a "family" of them, or "any".
        executes: Whether it runs the networks it encodes; it must then be given their code by `bind`.
        closed_form: Whether `adapt` is all there is to fit: no parameter is trained by gradients.
    """

    Settings: ClassVar[type[Config]]
    accepts: ClassVar[Literal["one", "family", "any"]]
    name: ClassVar[str]
    executes: ClassVar[bool] = False
    closed_form: ClassVar[bool] = False

    def __init__(self, config: Config, spec: NetworkSpec | None = None) -> None:
        super().__init__()
        self.config = config
        self.spec = spec
        if self.accepts == "one" and spec is None:
            raise SpecError(f"The encoder '{self.name}' works on one layout: pass it as `spec`.")

    def bind(self, network: nn.Module, inputs: Tensor | None = None) -> None:
        """Give an encoder that executes networks their code and, once, inputs to run them on."""

    def adapt(self, batch: Batch) -> None:
        """Fit scaling, PCA and statistics on training networks, once, before step 0."""

    @abstractmethod
    def encode(self, weights: Weights) -> Encoded:
        """Encode networks of one spec."""

    def encode_groups(self, groups: Sequence[Weights]) -> Float[Tensor, "networks dim"]:
        """Embed networks of several specs, group after group, with gradients.

        Encoders that pack different specs into one pass override this.
        """
        return torch.cat([self.encode(group).embedding for group in groups])

    @torch.no_grad()
    def embed(self, batch: Batch, chunk: int = 256) -> Float[Tensor, "networks dim"]:
        """Embed networks of any accepted specs, in the caller's order, without gradients.

        Dropout and norms work as in evaluation, also while the encoder is in training mode: what is said of
        a network depends on it alone.

        Args:
            batch: Groups of networks, on any device.
            chunk: Networks per forward pass; bounds the memory.

        Returns:
            Embeddings on the encoder's device.
        """
        for group in batch:
            self.require(group.spec)
        device = next((tensor.device for tensor in self.state_dict().values()), None)
        with evaluating(self):
            passes = [
                self.encode_groups([Weights(part.values.to(device), part.spec, part.rows) for part in pack])
                for pack in packs(batch, chunk)
            ]
        parts = torch.cat(passes)
        return batch.join(list(parts.split([len(group) for group in batch])))

    def require(self, spec: NetworkSpec) -> None:
        """Refuse a spec the encoder was not made for.

        Raises:
            SpecError: The encoder works on one layout, and `spec` has another.
        """
        if self.accepts == "one" and self.spec is not None and spec.layout_id != self.spec.layout_id:
            raise SpecError(
                f"The encoder '{self.name}' was made for layout {self.spec.layout_id} "
                f"({self.spec.params:,} parameters), these networks have layout {spec.layout_id} "
                f"({spec.params:,} parameters).",
                todo="Fit an encoder on a zoo of these networks, or pick one that accepts any layout.",
            )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module and all its parts in evaluation mode for a block, and then back."""
    before = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in before:
            part.training = training


def packs(groups: Iterable[Weights], size: int) -> list[list[Weights]]:
    """Cut groups into passes of at most `size` networks, in order; small groups share a pass.

    Args:
        groups: One `Weights` per spec.
        size: Networks per pass.
    """
    found: list[list[Weights]] = []
    room = 0
    for group in groups:
        for values, rows in zip(group.values.split(size), group.rows.split(size), strict=True):
            if len(rows) > room:
                found.append([])
                room = size
            found[-1].append(Weights(values, group.spec, rows))
            room -= len(rows)
    return found


class Autoencoder(Encoder):
    """An encoder that can also turn codes back into working weights."""

    decodes_weights: ClassVar[bool] = True

    @abstractmethod
    def code_shape(self, spec: NetworkSpec) -> tuple[int, int]:
        """Return (codes, width) of one network of `spec`, known without data."""

    @abstractmethod
    def decode(self, codes: Float[Tensor, "networks codes width"], spec: NetworkSpec) -> Decoded:
        """Rebuild networks of `spec` from their codes."""

    def code_numbers(self, spec: NetworkSpec) -> int:
        """Numbers in one code; parameters / this = true compression."""
        codes, width = self.code_shape(spec)
        return codes * width

    def forward(
        self, weights: Weights, *, whole: bool = True, generator: torch.Generator | None = None
    ) -> tuple[Encoded, Decoded]:
        """Encode and decode for one training step.

        Encoders that train on parts of networks override this: with `whole=False` they may
        pick a part with `generator` and mark its parameters in `Decoded.aux["covered"]`.

        Args:
            weights: Networks of one spec.
            whole: The decoded networks will be executed, so all of their weights are needed.
            generator: Source of the choice of a part.
        """
        encoded = self.encode(weights)
        return encoded, self.decode(encoded.codes, weights.spec)

    def chart(self, codes: Float[Tensor, "networks codes width"], spec: NetworkSpec) -> Chart:
        """Say how codes are moved by refinement: as they are, unless a method needs other coordinates."""
        shape = codes.shape[1:]

        def decode(x: Tensor) -> Tensor:
            return self.decode(x.reshape(len(x), *shape), spec).weights

        return Chart(codes.flatten(1), decode, self.code_numbers(spec), lr=0.05)

    def scale(self, spec: NetworkSpec) -> Float[Tensor, " params"]:
        """Return the unit in which structural errors are measured, per parameter."""
        return torch.ones(spec.params)

    def reconstruct(self, weights: Weights) -> Float[Tensor, "networks params"]:
        """Encode and decode."""
        return self.decode(self.encode(weights).codes, weights.spec).weights


LEAST_VARIANCE = 1e-6  # what decoded running variances are clamped to


def with_variances(
    values: Float[Tensor, "networks params"], spec: NetworkSpec
) -> Float[Tensor, "networks params"]:
    """Clamp the running variances of decoded networks to positive numbers, since norms take their roots.

    Args:
        values: Decoded networks as rows.
        spec: Their layout; without running variances the rows come back as they are.
    """
    kinds = [(tensor.size, tensor.role == "running_var") for tensor in spec.tensors]
    if not any(norm for _, norm in kinds):
        return values
    parts = values.split([size for size, _ in kinds], dim=1)
    kept = [p.clamp_min(LEAST_VARIANCE) if norm else p for p, (_, norm) in zip(parts, kinds, strict=True)]
    return torch.cat(kept, dim=1)


def settings_of(encoder: Encoder) -> dict[str, Any]:
    """Return the encoder's name and configuration as JSON values."""
    return {"encoder": encoder.name, **encoder.config.model_dump(mode="json")}
