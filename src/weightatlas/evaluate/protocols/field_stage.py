"""What the benches of shapes and images share: networks in three parts, points, and how alike two are."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightatlas.evaluate.meshes import grid_values, overlap
from weightatlas.population.forward import Population
from weightatlas.runtime import key_of, numpy_generator_of, pick_device
from weightatlas.tasks.fields import PointConfig
from weightatlas.weights.spec import NetworkSpec
from weightatlas.zoo.fields import FieldRecipe, populate_fields, signals_of
from weightatlas.zoo.zoo import Zoo

BENCH = "netspace_shapes"
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class FieldStage:
    """Networks that represent shapes or images.

    Args:
        tier: Size.
        recipe: Of the networks.
        zoo: The networks.
        cache: Folder of zoos.
        side: Cells along an edge of the cube on which solids are compared.
        judged: Test networks that are judged, the first so many.
        device: Where to compute.
    """

    tier: str
    recipe: FieldRecipe
    zoo: Zoo
    cache: Path
    side: int
    judged: int
    device: torch.device

    @property
    def name(self) -> str:
        """Name of the zoo in records."""
        return self.recipe.name

    @property
    def spec(self) -> NetworkSpec:
        """Layout of the networks."""
        return self.zoo.spec

    @property
    def images(self) -> bool:
        """The networks represent images, not shapes."""
        return self.spec.input_shape == (2,)

    @cached_property
    def population(self) -> Population:
        """Runs the networks; the engine is named, so that the same numbers come again."""
        return self.zoo.population(engine="vmap")

    @cached_property
    def values(self) -> dict[str, Float[Tensor, "networks params"]]:
        """Part -> weights; of the test networks those that are judged."""
        found = {part: self.zoo.split(part).weights().values.to(self.device) for part in PARTS}  # type: ignore[arg-type]
        return {**found, "test": found["test"][: self.judged]}

    def labels(self, part: str) -> Int[np.ndarray, " networks"]:
        """Classes of the signals of a part."""
        return self.zoo.split(part).column("label")[: len(self.values[part])]  # type: ignore[arg-type]

    @cached_property
    def points(self) -> Float[Tensor, "points coordinates"]:
        """Places near the surfaces of training shapes; of images all pixels."""
        signals = signals_of(self.recipe)
        rows = self.zoo.split("train").column("signal")
        keys = torch.tensor([key_of("bench points", signals.digests[row]) for row in rows.tolist()])
        found = signals.take(rows).points(keys, PointConfig(count=64))
        if self.images:
            return found[0].to(self.device)
        flat = found.flatten(0, 1)
        chosen = numpy_generator_of("bench points").permutation(len(flat))[: self.recipe.pool]
        return flat[chosen].to(self.device)

    def fields(self, values: Float[Tensor, "networks params"]) -> Float[Tensor, "networks *cells"]:
        """Run networks on the cells of the cube, or on all pixels."""
        if self.images:
            outputs = self.population.outputs_no_grad(values, self.points)[..., 0]
            return outputs.view(len(values), round(len(self.points) ** 0.5), -1)
        return grid_values(self.population, values, self.side)

    def likeness(
        self, found: Float[Tensor, "networks *cells"], true: Float[Tensor, "networks *cells"]
    ) -> Float[Tensor, " networks"]:
        """Overlap of solids (IoU); for images the share of their variance that is explained."""
        if not self.images:
            return overlap(found < 0, true < 0)
        found, true = found.flatten(1), true.flatten(1)
        left = (found - true).square().sum(1)
        return 1 - left / (true - true.mean(1, keepdim=True)).square().sum(1)

    @cached_property
    def test_fields(self) -> Float[Tensor, "networks *cells"]:
        """What the judged networks represent."""
        return self.fields(self.values["test"])

    @cached_property
    def train_fields(self) -> Float[Tensor, "networks *cells"]:
        """What the training networks represent."""
        return self.fields(self.values["train"])

    @cached_property
    def overlaps(self) -> Float[Tensor, "judged training"]:
        """How alike every judged and every training network are."""
        pairs = [
            self.likeness(self.train_fields, one.expand_as(self.train_fields)) for one in self.test_fields
        ]
        return torch.stack(pairs)

    def about(self, seed: int = 0) -> dict[str, Any]:
        """Fields that all records of one seed share."""
        about = {"bench": BENCH, "tier": self.tier, "zoo": self.name, "seeds": (seed,)}
        return {**about, "n": len(self.values["test"]), "split": "signal"}


def field_stage(recipe: FieldRecipe, tier: str, cache: Path, side: int, judged: int) -> FieldStage:
    """Fit the networks of a recipe, or reopen their zoo."""
    zoo = populate_fields(recipe, cache / "zoos" / f"{recipe.name}-{tier}")
    return FieldStage(tier, recipe, zoo, cache, side, judged, pick_device("auto"))


def solid(fields: Float[Tensor, "networks *cells"]) -> Bool[Tensor, "networks *cells"]:
    """Cells inside."""
    return fields < 0


def slope_error(
    fields: Float[Tensor, "networks side side side"], band: float = 0.1
) -> Float[Tensor, " networks"]:
    """How far the slope of a field is from 1, that of a signed distance, near its surface: mean over cells.

    1 for a field that has no surface at all.

    Args:
        fields: Values in the cells of the cube.
        band: Cells count whose value is nearer to 0.
    """
    width = 2 / fields.shape[-1]
    slopes = torch.stack(torch.gradient(fields, spacing=width, dim=(1, 2, 3)), dim=-1).norm(dim=-1)
    near = fields.abs() < band
    total = ((slopes - 1).abs() * near).flatten(1).sum(1)
    count = near.flatten(1).sum(1)
    return torch.where(count > 0, total / count.clamp(min=1), 1.0)
