"""NetSpace as published: convolutions over PReps of 10,000 weights a row (Berardi et al., 2022)."""

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from weightatlas.config import Config
from weightatlas.encoders.base import encoders
from weightatlas.encoders.prep_autoencoder import LEAK, Affine, PrepAutoencoder, PrepSettings
from weightatlas.weights.batch import Weights
from weightatlas.weights.prep import from_prep, to_prep
from weightatlas.weights.spec import NetworkSpec

_SIDE = 64  # side of the image a code is laid out as
_CODE = _SIDE * _SIDE


class ExactConfig(PrepSettings):
    """Settings of the published NetSpace.

    Args:
        dim: Numbers of the code, a multiple of 4,096; exactly that with several architectures.
        width: Weights in a row, a multiple of 8.
        height: Rows, a multiple of 4: 8 or 16 for one architecture, 88 for four.
    """

    dim: int = _CODE
    width: int = Field(default=10_000, ge=1)
    height: int | None = Field(default=8, ge=1)

    @model_validator(mode="after")
    def _divides(self) -> "ExactConfig":
        if self.height is None or self.height % 4 or self.width % 8 or self.dim % _CODE:
            raise ValueError(
                f"height={self.height} must be a multiple of 4, width={self.width} of 8, "
                f"dim={self.dim} of {_CODE}"
            )
        if len(self.ladder) > 1 and self.dim != _CODE:
            raise ValueError(f"the class head reads codes of {_CODE} numbers, not {self.dim}")
        return self


class ExactEncoder(nn.Module):
    """Convolutions along rows, a maximum over each row, convolutions down the column, a maximum over it.

    Args:
        dim: Numbers of the code.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        h = dim // 32
        self.across = nn.ModuleList(
            [nn.Conv2d(a, b, (1, 3), stride=(1, 2), padding=(0, 1)) for a, b in ((1, h), (h, 2 * h))]
        )
        self.down = nn.ModuleList(
            [nn.Conv2d(a, b, (3, 1), padding=(1, 0)) for a, b in ((2 * h, 4 * h), (4 * h, dim))]
        )

    def forward(self, prep: Float[Tensor, "networks height width"]) -> Float[Tensor, "networks dim"]:
        """Encode PReps of any size."""
        x = prep[:, None]
        for layer in self.across:
            x = F.leaky_relu(layer(x), LEAK)
        x = x.amax(3, keepdim=True)
        for layer in self.down:
            x = F.leaky_relu(layer(x), LEAK)
        return x.amax((2, 3))


class ExactDecoder(nn.Module):
    """Convolutions that widen, and views that trade channels for places, until the PRep is full.

    A view reads the same numbers in another shape; it moves them as a plain reshape does.

    Args:
        dim: Numbers of the code.
        height: Rows of the PRep.
        width: Its row.
        affine: Whether every place is multiplied, and shifted, by a learned number.
    """

    def __init__(self, dim: int, height: int, width: int, affine: tuple[bool, bool]) -> None:
        super().__init__()
        self.height, self.width = height, width
        images = dim // _CODE
        self.first = nn.Conv2d(images, 256 * height, 3, stride=2, padding=1)
        self.second = nn.Conv2d(128, width // 8, 3, stride=2, padding=1)
        self.third = nn.Conv2d(512, 256, 3, stride=2, padding=1)
        self.last = nn.Conv2d(256, 32, 3, padding=1)
        weight, bias = 1e-3 * torch.randn(height, width), 1e-2 * torch.rand(height, width)
        self.affine = Affine(weight if affine[0] else None, bias if affine[1] else None)

    def forward(self, codes: Float[Tensor, "networks dim"]) -> Float[Tensor, "networks height width"]:
        """Decode PReps."""
        count, height, width = len(codes), self.height, self.width
        x = F.leaky_relu(self.first(codes.view(count, -1, _SIDE, _SIDE)), LEAK)
        x = F.leaky_relu(self.second(x.reshape(count, 128, height, 2048)), LEAK)
        # Here half the height and 1,024 columns are left; the width's share of them is now in the channels.
        x = F.leaky_relu(self.third(x.reshape(count, 512, height // 2, width // 4)), LEAK)
        x = self.last(x.reshape(count, 256, height // 4, width // 8))
        return self.affine(x.reshape(count, height, width))


@encoders.register("netspace_exact")
class NetSpaceExact(PrepAutoencoder):
    """NetSpace with the published layers: 6,788,352 parameters encode; 2,875,394 (8 rows), 3,055,874 (16) or
    4,721,258 (88, with four classes) decode.

    Example:
        >>> encoders.get("netspace_exact").Settings().dim
        4096

    Args:
        config: Sizes and options.
        spec: The architecture, if there is only one.
    """

    Settings: ClassVar[type[Config]] = ExactConfig
    name = "netspace_exact"
    config: ExactConfig

    def __init__(self, config: ExactConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config, spec)
        affine = config.affine_weight, config.affine_bias
        self.encoder = ExactEncoder(config.dim)
        self.decoder = ExactDecoder(config.dim, self.height, self.width, affine)
        self.head = None
        if len(self.ladder) > 1:
            self.head = nn.Sequential(
                *(nn.Conv2d(1, 10, 3, stride=2, padding=1), nn.LeakyReLU(LEAK), nn.Flatten()),
                nn.Linear(10 * _CODE // 4, len(self.ladder)),
            )

    def embedding(self, weights: Weights, rung: int) -> Float[Tensor, "networks dim"]:
        """Code networks of one place of the ladder."""
        return self.encoder(to_prep(weights.values, self.plans[rung]))

    def weights(self, codes: Float[Tensor, "networks dim"], rung: int) -> Float[Tensor, "networks params"]:
        """Decode networks of one place of the ladder."""
        return from_prep(self.decoder(codes), self.plans[rung])

    def classify(self, codes: Float[Tensor, "networks 1 dim"]) -> Float[Tensor, "networks classes"]:
        """Score the places of the ladder."""
        if self.head is None:
            return codes.new_zeros(len(codes), 1)
        return self.head(codes.reshape(len(codes), 1, _SIDE, _SIDE))
