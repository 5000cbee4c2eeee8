"""Networks of signals in three parts, for benches that read from weights what a network represents."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.runtime import pick_device
from weightatlas.weights.batch import Batch
from weightatlas.weights.spec import NetworkSpec
from weightatlas.zoo.zoo import Zoo

PARTS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class SignalStage:
    """Networks that represent a signal each, in three parts without common signals.

    Args:
        tier: Size.
        name: Name of the zoo in records.
        parts: Part -> networks with the property.
        cache: Folder of runs.
        device: Where encoders are trained.
        target: Name of the property.
        kind: "real" for a number, "class" for one of several classes.
    """

    tier: str
    name: str
    parts: dict[str, Batch]
    cache: Path
    device: torch.device
    target: str
    kind: Literal["real", "class"] = "real"

    @property
    def spec(self) -> NetworkSpec:
        """Layout of the networks."""
        return self.parts["train"].groups[0].spec

    def truth(self, part: str) -> Float[Tensor, " networks"]:
        """The property of the networks of a part."""
        return self.parts[part].labels[self.target].double()

    def table(self, part: str) -> tuple[Float[Tensor, "networks params"], Float[Tensor, " networks"]]:
        """Weights and the property of a part, in the caller's order."""
        batch = self.parts[part]
        return batch.join([group.values for group in batch]), self.truth(part)


def signal_stage(
    zoo: Zoo, name: str, tier: str, cache: Path, target: str, kind: Literal["real", "class"] = "real"
) -> SignalStage:
    """Read the three parts of a zoo."""
    parts = {part: zoo.split(part).batch(labels=(target,)) for part in PARTS}  # type: ignore[arg-type]
    return SignalStage(tier, name, parts, cache, pick_device("auto"), target, kind)
