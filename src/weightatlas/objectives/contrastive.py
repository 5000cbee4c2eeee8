"""Contrastive loss: views of one network close, other networks far."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from weightatlas.encoders.heads import ProjectionHead
from weightatlas.errors import ConfigError
from weightatlas.objectives.step import Objective, Step

Pairs = Literal["all", "positive"]


def nt_xent(
    first: Float[Tensor, "networks dim"], second: Float[Tensor, "networks dim"], tau: float = 0.1
) -> Float[Tensor, ""]:
    """NT-Xent (Sohn, 2016; SimCLR): tell each view's partner from all other views, by cosine.

    Works for any number of networks; one network alone has no negatives and gives zero.

    Args:
        first: Projections of the first views.
        second: Projections of the second views, same order.
        tau: Temperature.
    """
    both = F.normalize(torch.cat([first, second]).float(), dim=1)
    similarity = both @ both.T / tau
    similarity = similarity.masked_fill(
        torch.eye(len(both), dtype=torch.bool, device=both.device), -torch.inf
    )
    partner = torch.arange(len(both), device=both.device).roll(len(first))
    return F.cross_entropy(similarity, partner)


def positive(
    first: Float[Tensor, "networks dim"], second: Float[Tensor, "networks dim"]
) -> Float[Tensor, ""]:
    """Pull the views of each network together, without pushing others apart (Ec+D, NeurIPS 2021).

    One minus the cosine. The released code minimizes the squared cosine instead, which pushes views of one
    network to right angles.

    Args:
        first: Projections of the first views.
        second: Projections of the second views, same order.
    """
    return 1 - F.cosine_similarity(first.float(), second.float()).mean()


class Contrastive(Objective):
    """NT-Xent over projections of two views (Meynent et al., 2025, Eq. 2), or their positive pairs only.

    Args:
        embedding_dim: Numbers per embedding of the encoder.
        tau: Temperature.
        head_dim: Numbers per projection.
        pairs: "all" contrasts with other networks (NT-Xent), "positive" does not; that needs another term
            beside it which keeps embeddings apart.
    """

    name: ClassVar[str] = "contrastive"
    views: ClassVar[int] = 2
    joins: ClassVar[Literal["mean", "embeddings"] | None] = "embeddings"

    def __init__(
        self, embedding_dim: int, tau: float = 0.1, head_dim: int = 30, pairs: Pairs = "all"
    ) -> None:
        super().__init__()
        self.tau, self.pairs = tau, pairs
        self.head = ProjectionHead(embedding_dim, head_dim)

    def forward(self, step: Step) -> dict[str, Float[Tensor, ""]]:
        """Contrast the two views of each network.

        Raises:
            ConfigError: The step does not have two views.
        """
        if step.views != 2:
            raise ConfigError(f"The contrastive loss needs two views per network, got {step.views}.")
        first, second = self.head(step.encoded.embedding).chunk(2)
        loss = nt_xent(first, second, self.tau) if self.pairs == "all" else positive(first, second)
        return {self.name: loss}
