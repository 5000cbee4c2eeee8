"""A loss as a list of weighted terms; SANE's recipe of three."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from weightatlas.config import Config
from weightatlas.errors import ConfigError
from weightatlas.objectives.behavioral import Behavioral, Variant
from weightatlas.objectives.contrastive import Contrastive, Pairs
from weightatlas.objectives.joint import joined, seen
from weightatlas.objectives.step import Objective, Step
from weightatlas.objectives.structural import Structural

RECIPES: dict[str, tuple[float, float]] = {
    "C": (1.0, 1.0),
    "S": (0.0, 1.0),
    "CS": (0.05, 1.0),
    "B": (0.0, 0.0),
    "CB": (0.05, 0.0),
    "SB": (0.0, 0.1),
    "CSB": (0.05, 0.1),
}


class LossConfig(Config):
    """SANE's loss: gamma * C + (1 - gamma) * (beta * S + (1 - beta) * B) (Meynent et al., 2025, Eq. 3).

    Args:
        gamma: Weight of the contrastive term; 0 leaves it out.
        beta: Share of the structural term in the rest; 0 leaves it out, 1 leaves the behavioral out.
        normalize: "first" divides each term by its own first value, as the released code does and
            without which gamma and beta mean something else; the values are saved in checkpoints.
        variant: What the behavioral term compares.
        temperature: Temperature of the behavioral term's softmax.
        tau: Temperature of the contrastive term.
        head_dim: Numbers per contrastive projection.
        pairs: "positive" pulls views together without pushing other networks away.
        diluted: Count padding in the structural term, as the released code does.
    """

    gamma: float = Field(default=0.05, ge=0, le=1)
    beta: float = Field(default=0.1, ge=0, le=1)
    normalize: Literal["first", "none"] = "first"
    variant: Variant = "softmax_mse"
    temperature: float = Field(default=1.0, gt=0)
    tau: float = Field(default=0.1, gt=0)
    head_dim: int = Field(default=30, ge=1)
    pairs: Pairs = "all"
    diluted: bool = False

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each term that takes part."""
        rest = 1 - self.gamma
        parts = {
            "contrastive": self.gamma,
            "structural": rest * self.beta,
            "behavioral": rest * (1 - self.beta),
        }
        return {name: weight for name, weight in parts.items() if weight > 0}


def recipe(row: str, **settings: object) -> LossConfig:
    """Return the loss of a row of the paper's tables.

    Example:
        >>> recipe("SB").weights
        {'structural': 0.1, 'behavioral': 0.9}

    Args:
        row: "C", "S", "CS", "B", "CB", "SB" or "CSB".
        settings: Further settings of the loss.

    Raises:
        ConfigError: The row is unknown.
    """
    if row not in RECIPES:
        raise ConfigError(f"There is no recipe '{row}'.", todo=f"Known: {', '.join(RECIPES)}.")
    gamma, beta = RECIPES[row]
    return LossConfig.build({"gamma": gamma, "beta": beta, **settings})


class Composite(nn.Module):
    """A weighted sum of terms, each divided by its own first value if asked for.

    Args:
        terms: Name -> (objective, weight).
        normalize: "first" or "none".
        head: Maps embeddings to the predictions that supervised terms share, or none.
        settings: JSON values that say what this loss is; a run is only continued if they are equal.
    """

    def __init__(
        self,
        terms: Mapping[str, tuple[Objective, float]],
        normalize: Literal["first", "none"] = "first",
        head: nn.Module | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not terms:
            raise ConfigError("The loss has no terms: give at least one a weight above zero.")
        self.terms = nn.ModuleDict({name: objective for name, (objective, _) in terms.items()})
        self.weights = {name: weight for name, (_, weight) in terms.items()}
        self.normalize = normalize
        self.head = head
        self.settings = None if settings is None else dict(settings)
        self.register_buffer("first", torch.full((len(terms),), torch.nan))

    first: Float[Tensor, " terms"]

    @property
    def views(self) -> int:
        """Views per network the terms need."""
        return max(objective.views for objective in self.objectives)

    @property
    def needs_queries(self) -> bool:
        """Whether networks are executed."""
        return any(objective.needs_queries for objective in self.objectives)

    @property
    def needs_decoded(self) -> bool:
        """Whether networks are decoded."""
        return any(objective.needs_decoded for objective in self.objectives)

    @property
    def mixes(self) -> bool:
        """Whether a step may mix networks of many specs."""
        return all(objective.mixes for objective in self.objectives)

    @property
    def labels(self) -> tuple[str, ...]:
        """Properties of the networks the terms need."""
        return tuple(dict.fromkeys(name for objective in self.objectives for name in objective.labels))

    @property
    def objectives(self) -> list[Objective]:
        """The terms, in order."""
        return [term for term in self.terms.values() if isinstance(term, Objective)]

    def forward(self, step: Step) -> dict[str, Float[Tensor, ""]]:
        """Compute "loss" and, for the log, every raw term by its name here.

        The first call in training mode fixes the divisors.
        """
        logged: dict[str, Tensor] = {}
        for name, objective in zip(self.terms, self.objectives, strict=True):
            found = joined(objective, step, objective(seen(objective, step)))
            logged |= {name: found.pop(objective.name), **found}
        raw = torch.stack([logged[name].float() for name in self.terms])
        divisors = self._divisors(raw.detach())
        weights = torch.tensor([self.weights[name] for name in self.terms], device=raw.device)
        return {"loss": (weights * raw / divisors).sum(), **logged}

    def _divisors(self, raw: Float[Tensor, " terms"]) -> Float[Tensor, " terms"]:
        if self.normalize == "none":
            return torch.ones_like(raw)
        fresh = torch.isnan(self.first) & torch.isfinite(raw) & (raw > 0)
        found = torch.where(fresh, raw, self.first)
        if self.training:
            self.first.copy_(found)
        return torch.nan_to_num(found, nan=1.0)


def build_loss(config: LossConfig, embedding_dim: int) -> Composite:
    """Make SANE's loss from its settings; terms with weight zero are left out.

    Args:
        config: Weights and variants.
        embedding_dim: Numbers per embedding of the encoder.
    """
    made: dict[str, Objective] = {
        "contrastive": Contrastive(embedding_dim, config.tau, config.head_dim, config.pairs),
        "structural": Structural(config.diluted),
        "behavioral": Behavioral(config.variant, config.temperature),
    }
    return Composite(
        {name: (made[name], weight) for name, weight in config.weights.items()}, config.normalize
    )
