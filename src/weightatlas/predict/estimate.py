"""Estimates for networks nobody has tested: a fitted predictor, an interval, or the reason why not."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from weightatlas.encoders.io import from_pretrained
from weightatlas.errors import DataError, RunError, WeightAtlasError
from weightatlas.predict.grades import Grader
from weightatlas.predict.property import PropertyPredictor
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.spec import NetworkSpec

LEVEL = 0.9


class Estimate(NamedTuple):
    """What a property of one network probably is.

    Args:
        property: Its name.
        value: The estimate, or none.
        low: Lower end of the 90 % interval, or none.
        high: Upper end, or none.
        reason: Why there is no estimate, or no interval; empty if there are both.
        answer: The class, if the property is one.
        graded: Whether it was asked if the network is like those of the run at all.
    """

    property: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""
    answer: str = ""
    graded: bool = False

    def __str__(self) -> str:
        if self.answer:
            return self.answer
        if self.value is None:
            return self.reason
        if self.low is None or self.high is None:
            return f"{self.value:.3f} ({self.reason})"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class Estimator:
    """Applies the predictor of a run to networks of known layouts.

    Args:
        predictor: A fitted predictor.
        name: The run, for messages.
        grader: Recognizes networks unlike those of the run; without it every network of a known layout gets
            an estimate.
    """

    def __init__(
        self, predictor: PropertyPredictor, name: str = "the run", grader: Grader | None = None
    ) -> None:
        self.predictor, self.name, self.grader = predictor, name, grader

    @classmethod
    def open(cls, run: str | Path) -> "Estimator":
        """Read the predictor of a run, its encoder and what it knows of strangers, if it has them.

        Args:
            run: Folder written by `PropertyPredictor.save`; the encoder may lie in it or in `encoder`.

        Raises:
            RunError: There is no predictor.
            FileError: It, or the grader beside it, is damaged or of another fit.
        """
        run = Path(run)
        if not (run / "predictor.json").is_file():
            raise RunError(
                f"{run} holds no fitted predictor.",
                todo=f"Fit one first: weightatlas predict ZOO --property test_acc --save {run}",
            )
        folders = [folder for folder in (run / "encoder", run) if (folder / "config.json").is_file()]
        encoder = from_pretrained(folders[0]) if folders else None
        predictor = PropertyPredictor.load(run, encoder)
        grader = Grader.load(run, predictor) if (run / "grader.json").is_file() else None
        return cls(predictor, str(run), grader)

    @property
    def caution(self) -> str:
        """What to know of all estimates: whether strangers are recognized."""
        if self.grader is None:
            return (
                f"{self.name} does not recognize strangers: its estimates and intervals hold for networks "
                "like those it was fitted on only. Let it learn what these are: weightatlas predict ZOO "
                "--grade, with --run RUN of a trained encoder or --save RUN."
            )
        if self.grader.blind:
            return (
                f"{self.name} compares strangers by their weights alone, for it has no code to run networks "
                "with; networks trained alike on other data may pass."
            )
        return ""

    def spec_of(self, names: Mapping[str, tuple[int, ...]], inferred: NetworkSpec) -> NetworkSpec | None:
        """Find the layout of the run that a network has: by names and shapes, else by shapes and roles.

        Args:
            names: Name -> shape of its floating tensors.
            inferred: What was inferred from them.

        Returns:
            The run's spec if the names fit, the inferred one if only the layout is the same, or none.
        """
        for spec in self.predictor.specs_:
            own = {name: t.shape for t in spec.tensors for name in (t.name, *t.aliases)}
            if own == dict(names):
                return spec
        layouts = {spec.layout_id for spec in self.predictor.specs_}
        return inferred if inferred.layout_id in layouts else None

    def refusal(self, inferred: NetworkSpec) -> str:
        """Say why networks of another layout get no estimate."""
        if not self.predictor.specs_:
            return f"{self.name} does not say which networks it was fitted on; fit it again"
        known = ", ".join(f"{s.layout_id[:8]} ({s.params:,} parameters)" for s in self.predictor.specs_[:3])
        return f"fitted on layout {known}; this is {inferred.layout_id[:8]} ({inferred.params:,})"

    def estimate(self, weights: Weights) -> list[list[Estimate]]:
        """Estimate every property of every network; finite networks only."""
        names = self.predictor.properties_
        try:
            if self.grader is not None:
                return self._graded(weights, self.grader)
            return self._plain(Batch((weights,)))
        except WeightAtlasError as error:
            return [[Estimate(name, reason=error.what) for name in names] for _ in range(len(weights))]

    def _plain(self, batch: Batch) -> list[list[Estimate]]:
        """Estimates with the intervals of networks like those of the run."""
        values = self.predictor.predict(batch).reshape(len(batch), -1)
        nothing = torch.full_like(values, torch.nan)
        try:
            low, high = (end.reshape(len(batch), -1) for end in self.predictor.interval(batch, LEVEL))
            reason = ""
        except DataError as error:
            low, high, reason = nothing, nothing, f"no interval: {error.what}"
        return [self._row(*ends, reason) for ends in zip(values, low, high, strict=True)]

    def _graded(self, weights: Weights, grader: Grader) -> list[list[Estimate]]:
        """Estimates as the grader gives them: wider far from the networks of the run, and none for strangers.

        Where networks of the run have one layout and several functions, a bare file may be of any of them:
        the one under which it is most familiar counts.
        """
        layout = weights.spec.layout_id
        known = [spec for spec in self.predictor.specs_ if spec.layout_id == layout] or [weights.spec]
        rows = torch.arange(len(weights))
        found = [grader.grade(Batch((Weights(weights.values, spec, rows),)), LEVEL) for spec in known]
        best = torch.stack([grades.distance for grades in found]).argmin(0).tolist()
        estimates = []
        for row, place in enumerate(best):
            grades = found[place]
            if bool(grades.abstained[row]):
                share = float(grades.familiar[row])
                text = f"unlike the networks of {self.name}: at most {share:.1%} of them are as far off"
                names = self.predictor.properties_
                estimates.append([Estimate(name, reason=text, graded=True) for name in names])
                continue
            own = self._row(grades.predicted[row], grades.low[row], grades.high[row], "")
            estimates.append([one._replace(graded=True) for one in own])
        return estimates

    def _row(self, values: Tensor, low: Tensor, high: Tensor, reason: str) -> list[Estimate]:
        """Estimates of one network."""
        found = []
        for place, scale in enumerate(self.predictor.scales_):
            value = float(values[place])
            if scale.kind == "class":
                found.append(Estimate(scale.name, value, answer=scale.answer(value)))
                continue
            ends = [None if end[place] != end[place] else float(end[place]) for end in (low, high)]
            found.append(_checked(scale.name, value, ends[0], ends[1], reason))
        return found


def _checked(name: str, value: float, low: float | None, high: float | None, reason: str) -> Estimate:
    """Keep shares between 0 and 1, and refuse an estimate far outside."""
    if not name.endswith("_acc"):
        return Estimate(name, value, low, high, reason)
    if not -0.05 <= value <= 1.05:
        text = f"the prediction {value:.3g} is no share: the network is unlike those of the run"
        return Estimate(name, reason=text)
    clip = [None if end is None else min(max(end, 0.0), 1.0) for end in (value, low, high)]
    return Estimate(name, clip[0], clip[1], clip[2], reason)
