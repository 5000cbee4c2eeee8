"""NetSpace for small machines: row statistics in, row tokens out, one base network per architecture."""

from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from weightatlas.config import Config
from weightatlas.encoders.base import encoders
from weightatlas.encoders.prep_autoencoder import LEAK, Affine, PrepAutoencoder, PrepSettings
from weightatlas.population.initialize import fan_in
from weightatlas.symmetry.matching import canonical
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.prep import from_prep, to_prep
from weightatlas.weights.scaling import fit_scaling
from weightatlas.weights.spec import NetworkSpec

STATISTICS = 6  # numbers that describe a row


class CompactConfig(PrepSettings):
    """Settings of the compact NetSpace; the defaults suit networks of a few thousand parameters.

    Args:
        hidden: Width of the layer that mixes the rows.
        features: Further linear features of each row, learned for its place; they know where a weight
            stands, and learn training networks by heart where those are few.
        token: Numbers a row is decoded from.
        inner: Width of the layer that turns them into a row.
        align: Bring networks into the neuron order of the best training network before encoding.
        dropout: Between the rows and the layer that mixes them.
    """

    hidden: int = Field(default=256, ge=1)
    features: int = Field(default=0, ge=0)
    token: int = Field(default=16, ge=1)
    inner: int = Field(default=64, ge=1)
    align: bool = True
    dropout: float = Field(default=0.0, ge=0, lt=1)


class RowEncoder(nn.Module):
    """Describe each row by itself, then mix the rows.

    The published encoder also reads a row through a few features and a maximum over all places. Here
    they are statistics of the standardized row (and, if asked for, linear features of its places).

    Args:
        config: Sizes.
        height: Rows.
    """

    def __init__(self, config: CompactConfig, height: int) -> None:
        super().__init__()
        scale = config.width**-0.5
        shape = (height, config.width, config.features)
        self.features = nn.Parameter(scale * torch.randn(shape)) if config.features else None
        size = height * (STATISTICS + config.features)
        self.mix = nn.Sequential(
            *(nn.LayerNorm(size), nn.Dropout(config.dropout)),
            *(nn.Linear(size, config.hidden), nn.LeakyReLU(LEAK), nn.Linear(config.hidden, config.dim)),
        )

    def forward(
        self, prep: Float[Tensor, "networks height width"], mask: Bool[Tensor, "height width"]
    ) -> Float[Tensor, "networks dim"]:
        """Encode standardized PReps whose padding is zero."""
        rows = row_statistics(prep, mask)
        if self.features is not None:
            rows = torch.cat([rows, torch.einsum("nhw,hwf->nhf", prep, self.features)], dim=2)
        return self.mix(rows.flatten(1))


def row_statistics(
    prep: Float[Tensor, "networks height width"], mask: Bool[Tensor, "height width"]
) -> Float[Tensor, "networks height 6"]:
    """Mean, root mean square, mean magnitude, largest, smallest and share of places filled, padding left out.

    Example:
        >>> row_statistics(torch.tensor([[[3.0, -1.0, 0.0]]]), torch.tensor([[True, True, False]]))[0, 0, :3]
        tensor([1.0000, 2.2361, 2.0000])

    Args:
        prep: PReps with zeros as padding.
        mask: True where a place holds a parameter.
    """
    count = mask.sum(1).clamp(min=1)
    numbers = [
        prep.sum(2) / count,
        (prep.square().sum(2) / count).sqrt(),
        prep.abs().sum(2) / count,
        torch.where(mask, prep, -torch.inf).amax(2),
        torch.where(mask, prep, torch.inf).amin(2),
        mask.float().mean(1).expand(len(prep), -1),
    ]
    return torch.nan_to_num(torch.stack(numbers, dim=2), posinf=0.0, neginf=0.0)


class RowDecoder(nn.Module):
    """One token per row from the code, then the same layers for every row.

    Args:
        config: Sizes.
        height: Rows.
        bases: Architectures, each with its own affine.
    """

    def __init__(self, config: CompactConfig, height: int, bases: int) -> None:
        super().__init__()
        self.shape = (height, config.token)
        self.tokens = nn.Linear(config.dim, height * config.token)
        self.row = nn.Sequential(
            *(nn.LeakyReLU(LEAK), nn.Linear(config.token, config.inner), nn.LeakyReLU(LEAK)),
            nn.Linear(config.inner, config.width),
        )
        sizes = (bases, height, config.width)
        weight = torch.full(sizes, 0.3) if config.affine_weight else None
        self.affine = Affine(weight, torch.randn(sizes) if config.affine_bias else None)

    def forward(
        self, codes: Float[Tensor, "networks dim"], base: int
    ) -> Float[Tensor, "networks height width"]:
        """Decode standardized PReps of one architecture."""
        rows = self.row(self.tokens(codes).view(len(codes), *self.shape))
        return self.affine(rows, base)


@encoders.register("netspace")
class NetSpace(PrepAutoencoder):
    """NetSpace (Berardi et al., 2022) with a factorized, masked and standardized autoencoder.

    Weights are standardized tensor by tensor with statistics of the training networks (architectures
    without any take the spread of a fresh network). Every architecture of the ladder has its own affine;
    its bias starts at the best training network, so that training starts at a network that works.

    Args:
        config: Sizes and options.
        spec: The architecture, if there is only one.
    """

    Settings: ClassVar[type[Config]] = CompactConfig
    name = "netspace"
    config: CompactConfig
    mean: Float[Tensor, "ladder places"]
    std: Float[Tensor, "ladder places"]
    reference: Float[Tensor, "ladder places"]
    aligns: Bool[Tensor, " ladder"]

    def __init__(self, config: CompactConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config, spec)
        self.encoder = RowEncoder(config, self.height)
        self.decoder = RowDecoder(config, self.height, len(self.ladder))
        self.head = None
        if len(self.ladder) > 1:
            self.head = nn.Sequential(
                nn.Linear(config.dim, 32), nn.LeakyReLU(LEAK), nn.Linear(32, len(self.ladder))
            )
        places = self.height * self.width
        self.register_buffer("mean", torch.zeros(len(self.ladder), places))
        self.register_buffer("std", torch.stack([_fresh_spread(known, places) for known in self.ladder]))
        self.register_buffer("reference", torch.zeros(len(self.ladder), places))
        self.register_buffer("aligns", torch.zeros(len(self.ladder), dtype=torch.bool))

    @torch.no_grad()
    def adapt(self, batch: Batch) -> None:
        """Fit the scaling and take the best training network of each architecture as its base.

        Best by the label "val_acc" if the batch has it, else the first.
        """
        for group in batch:
            rung, params = self.rung(group.spec), group.spec.params
            scaling = fit_scaling(group.values.to(self.mean.device), group.spec)
            self.mean[rung, :params], self.std[rung, :params] = scaling.mean, scaling.std
            score = batch.labels.get("val_acc")
            best = 0 if score is None else int(score[group.rows.cpu()].nan_to_num(-torch.inf).argmax())
            self.reference[rung, :params] = group.values[best].to(self.mean.device)
            self.aligns[rung] = self.config.align
            if self.decoder.affine.bias is not None:
                base = scaling.apply(self.reference[rung : rung + 1, :params])
                self.decoder.affine.bias[rung] = to_prep(base, self.plans[rung])[0]

    def embedding(self, weights: Weights, rung: int) -> Float[Tensor, "networks dim"]:
        """Code networks of one place of the ladder."""
        values, params = weights.values, weights.spec.params
        if bool(self.aligns[rung]) and weights.spec.groups:
            values = canonical(values.detach(), self.reference[rung, :params], weights.spec)
        values = (values - self.mean[rung, :params]) / self.std[rung, :params]
        plan = self.plans[rung]
        return self.encoder(to_prep(values, plan), plan.mask.to(values.device))

    def weights(self, codes: Float[Tensor, "networks dim"], rung: int) -> Float[Tensor, "networks params"]:
        """Decode networks of one place of the ladder."""
        params = self.ladder[rung].params
        values = from_prep(self.decoder(codes, rung), self.plans[rung])
        return values * self.std[rung, :params] + self.mean[rung, :params]

    def classify(self, codes: Float[Tensor, "networks 1 dim"]) -> Float[Tensor, "networks classes"]:
        """Score the places of the ladder."""
        return codes.new_zeros(len(codes), 1) if self.head is None else self.head(codes[:, 0])

    def scale(self, spec: NetworkSpec) -> Float[Tensor, " params"]:
        """Return the unit in which structural errors are measured, per parameter."""
        return self.std[self.rung(spec), : spec.params]


def _fresh_spread(spec: NetworkSpec, places: int) -> Float[Tensor, " places"]:
    """Standard deviation of a freshly initialized network, per parameter; 1 in the padding."""
    spread = torch.ones(places)
    inputs = {tensor.layer: fan_in(tensor) for tensor in spec.tensors if tensor.role == "weight"}
    for tensor, start in zip(spec.tensors, spec.offsets, strict=True):
        if tensor.role in ("weight", "bias"):
            spread[start : start + tensor.size] = (3 * inputs.get(tensor.layer, 1)) ** -0.5
    return spread
