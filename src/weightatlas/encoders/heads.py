"""Small heads on top of embeddings."""

from jaxtyping import Float
from torch import Tensor, nn


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
