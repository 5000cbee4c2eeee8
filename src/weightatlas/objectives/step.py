"""What an objective sees, and what it promises."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

from weightatlas.encoders.base import Decoded, Encoded, Encoder
from weightatlas.processes import ALONE, Processes
from weightatlas.weights.batch import Weights


@dataclass(frozen=True, slots=True)
class Step:
    """One training step, seen by every objective.

    Rows are view-major: with `M` networks and two views, rows `0 .. M-1` are the first views and
    rows `M .. 2M-1` the second views of the same networks.

    Args:
        weights: What must be rebuilt: permuted where the view is, but without noise or erasing. In a step
            that mixes specs, which only objectives that `mixes` see, it holds the first spec's networks.
        encoder: The encoder in training.
        encoded: Its codes of the (noisy) views.
        decoded: The rebuilt views, or none if nothing is decoded.
        views: Views per network.
        queries: Inputs on which networks are executed, shape `(queries, ...)`, or none.
        targets: Outputs of the originals on them, shape `(networks, queries, classes)`, or none.
        population: Executes weights on queries: `population(weights, queries)`.
        labels: Property name -> numbers, shape `(networks,)`.
        predictions: What the loss's head makes of the embeddings, or none without a head.
        processes: Those that share the step, each with a part of its networks.
        networks: Networks of the step in all processes, if there are several.
    """

    weights: Weights
    encoder: Encoder
    encoded: Encoded
    decoded: Decoded | None = None
    views: int = 1
    queries: Tensor | None = None
    targets: Float[Tensor, "networks queries classes"] | None = None
    population: Callable[..., Tensor] | None = None
    labels: dict[str, Tensor] = field(default_factory=dict)
    predictions: Float[Tensor, "_ width"] | None = None
    processes: Processes = ALONE
    networks: int = 0


class Objective(nn.Module, ABC):
    """One term of a loss; it may own a head that is trained along.

    Class attributes:
        name: Key of the term's scalar in the result.
        needs_decoded: Networks must be decoded for it.
        needs_queries: Networks must be decoded whole and executed for it.
        views: Views per network it needs.
        mixes: It looks at embeddings, predictions and labels alone, so a step may mix networks of many specs.
        labels: Properties of the networks it needs.
        joins: How several processes compute it together, each with a part of the networks: "mean" if it is a
            mean over networks, less those it counts as "dropped"; "embeddings" if it compares networks by
            their embeddings alone, which are then gathered. None if it cannot: such a training is refused.
    """

    name: ClassVar[str]
    needs_decoded: ClassVar[bool] = False
    needs_queries: ClassVar[bool] = False
    views: ClassVar[int] = 1
    mixes: ClassVar[bool] = False
    labels: tuple[str, ...] = ()
    joins: ClassVar[Literal["mean", "embeddings"] | None] = None

    @abstractmethod
    def forward(self, step: Step) -> dict[str, Float[Tensor, ""]]:
        """Compute the term under `name`; further scalars are only logged."""
