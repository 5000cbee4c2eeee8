"""Small heads on top of embeddings."""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from weightatlas.config import Config


class ProjectionHead(nn.Sequential):
    """Maps embeddings to the space in which views of one network are pulled together.

    The released SANE head flattens all codes of a window, which ties it to one window size, and
    ends in a ReLU, which folds the space; this one reads the embedding and ends linearly.

    Args:
        width: Numbers per embedding.
        dim: Numbers per projection.
    """

    def __init__(self, width: int, dim: int = 30) -> None:
        super().__init__(nn.Linear(width, dim, bias=False), nn.LayerNorm(dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, input: Float[Tensor, "networks width"]) -> Float[Tensor, "networks dim"]:
        """Project embeddings."""
        return super().forward(input)


class HeadConfig(Config):
    """What maps embeddings to properties: linear, or a perceptron with ReLU.

    SNE's heads are `HeadConfig(code=1024, hidden=(1000, 1000))` for CNNs, with 1,024 numbers whose origin the
    paper leaves open, and `HeadConfig(code=32, hidden=(512,))` for implicit representations.

    Args:
        hidden: Widths of hidden layers; empty is a linear head.
        code: Width of a linear map before them, or none.
        dropout: Dropout probability after every hidden layer.
    """

    hidden: tuple[int, ...] = ()
    code: int | None = None
    dropout: float = 0.0


class PropertyHead(nn.Sequential):
    """Maps embeddings to one number per property, or one per class.

    Example:
        >>> sum(p.numel() for p in PropertyHead(64, 1, HeadConfig(code=32, hidden=(512,))).parameters())
        19489

    Args:
        width: Numbers per embedding.
        outputs: Numbers per network.
        config: Layers.
    """

    def __init__(self, width: int, outputs: int, config: HeadConfig | None = None) -> None:
        config = config or HeadConfig()
        layers: list[nn.Module] = [] if config.code is None else [nn.Linear(width, config.code)]
        sizes = (width if config.code is None else config.code, *config.hidden)
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
            layers += [nn.Dropout(config.dropout)] if config.dropout else []
        super().__init__(*layers, nn.Linear(sizes[-1], outputs))

    def forward(self, input: Float[Tensor, "networks width"]) -> Float[Tensor, "networks outputs"]:
        """Predict from embeddings."""
        return super().forward(input)
