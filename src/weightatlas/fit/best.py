"""The best state seen in validation, and when to stop looking for a better one."""

from typing import Any

import torch
from torch import Tensor, nn

from weightatlas.errors import ConfigError

HIGHER = frozenset({"val/kendall", "val/accuracy", "val/agreement", "val/class"})
"""Validation numbers of which more is better; of all others, less is."""


class Best:
    """Remembers the encoder and loss with the best validation number.

    Example:
        >>> best = Best("val/loss", patience=1)
        >>> for loss in (3.0, 2.0, 2.5):
        ...     best.look({"val/loss": loss}, nn.Linear(1, 1))
        >>> best.value, best.stopped
        (2.0, True)

    Args:
        select: Validation number that decides, or none to keep the last state.
        patience: Validations without a better number after which training stops, or none.
    """

    def __init__(self, select: str | None, patience: int | None) -> None:
        self.select, self.patience = select, patience
        self.value: float | None = None
        self.stale = 0
        self.tensors: dict[str, Tensor] = {}

    @property
    def stopped(self) -> bool:
        """Whether nothing better was seen for too long."""
        return self.select is not None and self.patience is not None and self.stale >= self.patience

    @property
    def state(self) -> dict[str, Any]:
        """Value and staleness as JSON values; the tensors are saved beside them."""
        return {"value": self.value, "stale": self.stale}

    def look(self, line: dict[str, float], module: nn.Module) -> None:
        """Compare one validation with the best so far and keep the module's state if it is better.

        Raises:
            ConfigError: The validation has no such number.
        """
        if self.select is None:
            return
        if self.select not in line:
            known = ", ".join(name for name in line if name.startswith("val/"))
            raise ConfigError(f"There is no validation number '{self.select}'.", todo=f"Known: {known}.")
        value = line[self.select]
        sign = 1 if self.select in HIGHER else -1
        self.stale += 1
        if value == value and (self.value is None or sign * value > sign * self.value):
            self.value, self.stale = value, 0
            self.tensors = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    def load(self, state: dict[str, Any] | None, tensors: dict[str, Tensor]) -> None:
        """Continue from what was saved."""
        if state is not None:
            self.value, self.stale, self.tensors = state["value"], state["stale"], tensors

    @torch.no_grad()
    def restore(self, module: nn.Module) -> None:
        """Put the best state back, if there is one."""
        if self.tensors:
            module.load_state_dict(self.tensors)
