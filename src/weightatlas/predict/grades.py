"""Calibrated grades: wide intervals far from the training networks, and no answer beyond."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from weightatlas.atomic import replacing, write_text
from weightatlas.encoders.base import Encoder
from weightatlas.errors import DataError, FileError
from weightatlas.predict.features import features_of, labels_of
from weightatlas.predict.intervals import radius
from weightatlas.predict.property import PropertyPredictor
from weightatlas.weights.batch import Batch
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.statistics import layer_statistics

NEIGHBORS = 5


@dataclass(frozen=True, slots=True)
class Grades:
    """Predictions with intervals, and for whom there is none.

    Args:
        predicted: Predictions; NaN where the grader abstains, shape `(networks, targets)`.
        low: Lower ends of the intervals; minus infinity where it abstains.
        high: Upper ends.
        distance: Distance from the training networks, 1 for the median validation network, `(networks,)`.
        familiar: Share of validation networks that are at least as far away (a p-value), `(networks,)`.
        abstained: True where no grade is given, `(networks,)`.
    """

    predicted: Float[Tensor, "networks targets"]
    low: Float[Tensor, "networks targets"]
    high: Float[Tensor, "networks targets"]
    distance: Float[Tensor, " networks"]
    familiar: Float[Tensor, " networks"]
    abstained: Bool[Tensor, " networks"]

    def coverage(self, true: Float[Tensor, "networks targets"]) -> dict[str, float]:
        """Report how often intervals hold the truth among graded networks, their width, and abstentions."""
        given = ~self.abstained
        held = (self.low <= true) & (true <= self.high)
        width = (self.high - self.low)[given]
        return {
            "coverage": float(held[given].double().mean()) if bool(given.any()) else math.nan,
            "width": float(width.mean()) if bool(given.any()) else math.nan,
            "abstained": float(self.abstained.double().mean()),
        }


class Grader:
    """Grades networks with a fitted predictor.

    Distance is that to the nearest training networks, in the predictor's features and in layer
    statistics, whichever is larger, in units of the median validation network. Residuals of validation
    networks are divided by the distance beyond 1 before their conformal quantile is taken, and intervals
    are multiplied by it
    again: they grow with distance, and still hold the truth with the wanted probability for networks like the
    validation networks. Networks farther away than all but a share `abstain` of these get no grade, and so do
    architectures that were not among the training networks.

    Example:
        >>> grader = Grader(predictor).fit(zoo.split("train"), zoo.split("val"))     # doctest: +SKIP
        >>> grades = grader.grade(others)                                            # doctest: +SKIP

    Args:
        predictor: A fitted predictor.
        abstain: Share of validation networks that may be turned away.
    """

    def __init__(self, predictor: PropertyPredictor, abstain: float = 0.02) -> None:
        self.predictor, self.abstain = predictor, abstain
        self.tensors: dict[str, Tensor] = {}
        self.layouts: list[str] = []

    def fit(self, train: Batch, validation: Batch) -> "Grader":
        """Learn what is familiar from training networks, and how far off predictions are from validation
        ones.

        Args:
            train: Networks the predictor was fitted on.
            validation: Others of the same kind, with labels; never test networks.
        """
        names = self.predictor.properties_
        self.layouts = sorted({_function(group.spec) for group in train})
        self.tensors = {}
        for name, features in self._features(train).items():
            center = features.median(0).values
            spread = (features - center).abs().median(0).values
            spread = torch.where(spread > 1e-9, spread, (features - center).abs().mean(0).clamp_min(1e-9))
            self.tensors |= {f"{name}.center": center, f"{name}.spread": spread}
            self.tensors[f"{name}.known"] = torch.asinh((features - center) / spread)
        for name, far in self._distances(validation).items():
            self.tensors[f"{name}.unit"] = far.median().clamp_min(1e-12)
        distance = self._distance(validation)
        errors = labels_of(validation, names).cpu() - self._predicted(validation)
        self.tensors |= {"distances": distance, "scores": errors / distance.clamp_min(1)[:, None]}
        return self

    def grade(self, networks: Batch, level: float = 0.9) -> Grades:
        """Predict with intervals, or abstain.

        Args:
            networks: Any networks; unknown architectures are turned away.
            level: Wanted coverage.

        Raises:
            DataError: There were too few validation networks for this level, or `fit` was not called.
        """
        if not self.tensors:
            raise DataError("The grader knows no networks.", todo="Call fit(train, validation) first.")
        count, targets = len(networks), len(self.predictor.properties_)
        reach = radius(self.tensors["scores"], level)
        predicted = torch.full((count, targets), math.nan, dtype=torch.float64)
        distance = torch.full((count,), math.inf, dtype=torch.float64)
        for group in networks:
            sound = torch.isfinite(group.values).all(1)
            if _function(group.spec) not in self.layouts or not bool(sound.any()):
                continue
            alone = Batch((type(group)(group.values[sound], group.spec, torch.arange(int(sound.sum()))),))
            rows = group.rows[sound.cpu()]
            predicted[rows], distance[rows] = self._predicted(alone), self._distance(alone)
        known = self.tensors["distances"].sort().values
        beyond = len(known) - torch.searchsorted(known, distance)
        familiar = (1 + beyond).double() / (len(known) + 1)
        # With fewer validation networks than the share asks for, beyond all of them is beyond.
        abstained = familiar <= max(self.abstain, 1 / (len(known) + 1))
        width = reach * distance.clamp_min(1)[:, None]
        width[abstained] = math.inf
        predicted[abstained] = math.nan
        center = predicted.nan_to_num(0.0)
        return Grades(predicted, center - width, center + width, distance, familiar, abstained)

    def save(self, folder: str | Path) -> None:
        """Write what was learned beside the predictor's files."""
        folder = Path(folder)
        with replacing(folder / "grader.safetensors") as temporary:
            save_file({name: tensor.contiguous() for name, tensor in self.tensors.items()}, temporary)
        about = {"version": 1, "abstain": self.abstain, "layouts": self.layouts}
        write_text(folder / "grader.json", json.dumps(about, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path, predictor: PropertyPredictor) -> "Grader":
        """Read a grader back.

        Raises:
            FileError: The folder holds none, or a damaged one.
        """
        try:
            about = json.loads((Path(folder) / "grader.json").read_text(encoding="utf-8"))
            grader = cls(predictor, about["abstain"])
            grader.layouts, grader.tensors = about["layouts"], load_file(Path(folder) / "grader.safetensors")
        except Exception as error:
            raise FileError(f"{folder} holds no readable grader: {error}") from None
        return grader

    def _features(self, batch: Batch) -> dict[str, Tensor]:
        """What distances are measured in: the predictor's own features, and layer statistics of one
        layout."""
        source = getattr(self.predictor.fitted_, "encoder", self.predictor.encoder)
        found = {"own": features_of(source, batch).double().cpu()}
        if isinstance(source, Encoder) and len({group.spec.layout_id for group in batch}) == 1:
            parts = [layer_statistics(group.values, group.spec) for group in batch]
            found["statistics"] = batch.join(parts).double().cpu()
        return found

    def _distances(self, batch: Batch) -> dict[str, Tensor]:
        """Mean distance to the nearest training networks, per kind of features."""
        found = {}
        for name, features in self._features(batch).items():
            if f"{name}.known" not in self.tensors:
                continue
            known = self.tensors[f"{name}.known"]
            here = torch.asinh((features - self.tensors[f"{name}.center"]) / self.tensors[f"{name}.spread"])
            nearest = torch.cdist(here, known).topk(min(NEIGHBORS, len(known)), largest=False).values
            found[name] = nearest.mean(1)
        return found

    def _distance(self, batch: Batch) -> Float[Tensor, " networks"]:
        """The larger of the distances, 1 for the median validation network."""
        found = self._distances(batch)
        return torch.stack([far / self.tensors[f"{name}.unit"] for name, far in found.items()]).amax(0)

    def _predicted(self, batch: Batch) -> Float[Tensor, "networks targets"]:
        predicted = self.predictor.predict(batch)
        return predicted[:, None] if predicted.ndim == 1 else predicted


def _function(spec: NetworkSpec) -> str:
    return spec.function_id or spec.layout_id
