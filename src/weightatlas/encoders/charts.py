"""Charts: the free numbers that refinement may move, and the networks they stand for."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(slots=True)
class Chart:
    """Where refinement starts and what its numbers mean.

    Args:
        start: First position of each network, shape `(networks, numbers)`.
        decode: Positions to weights `(networks, params)`, differentiable.
        numbers: Free numbers per network: what would have to be stored.
        lr: A learning rate that suits the units of the positions.
        settle: Called now and then and at the end; may replace positions by equivalent ones that
            can be decoded from `numbers` numbers alone.
        parts: Coordinates of each part that may need a rate of its own, in order; none if all are alike.
    """

    start: Float[Tensor, "networks free"]
    decode: Callable[[Tensor], Tensor]
    numbers: int
    lr: float
    settle: Callable[[Tensor], Tensor] | None = None
    parts: tuple[int, ...] = ()
