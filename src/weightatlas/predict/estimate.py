"""Estimates for networks nobody has tested: a fitted predictor, an interval, or the reason why not."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from weightatlas.encoders.io import from_pretrained
from weightatlas.errors import DataError, RunError, WeightAtlasError
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
    """

    property: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    def __str__(self) -> str:
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
    """

    def __init__(self, predictor: PropertyPredictor, name: str = "the run") -> None:
        self.predictor, self.name = predictor, name

    @classmethod
    def open(cls, run: str | Path) -> "Estimator":
        """Read the predictor of a run, and its encoder if it has one.

        Args:
            run: Folder written by `PropertyPredictor.save`; the encoder may lie in it or in `encoder`.

        Raises:
            RunError: There is no predictor.
        """
        run = Path(run)
        if not (run / "predictor.json").is_file():
            raise RunError(
                f"{run} holds no fitted predictor.",
                todo=f"Fit one first: weightatlas predict ZOO --property test_acc --save {run}",
            )
        folders = [folder for folder in (run / "encoder", run) if (folder / "config.json").is_file()]
        encoder = from_pretrained(folders[0]) if folders else None
        return cls(PropertyPredictor.load(run, encoder), str(run))

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
        batch = Batch((weights,))
        names = self.predictor.properties_
        try:
            values = self.predictor.predict(batch).reshape(len(weights), -1).tolist()
        except WeightAtlasError as error:
            return [[Estimate(name, reason=error.what) for name in names] for _ in range(len(weights))]
        try:
            low, high = (
                end.reshape(len(weights), -1).tolist() for end in self.predictor.interval(batch, LEVEL)
            )
            reason = ""
        except DataError as error:
            low = high = [[None] * len(names)] * len(weights)
            reason = f"no interval: {error.what}"
        rows = zip(values, low, high, strict=True)
        return [[_checked(*numbers, reason) for numbers in zip(names, *row, strict=True)] for row in rows]


def _checked(name: str, value: float, low: float | None, high: float | None, reason: str) -> Estimate:
    """Keep shares between 0 and 1, and refuse an estimate far outside."""
    if not name.endswith("_acc"):
        return Estimate(name, value, low, high, reason)
    if not -0.05 <= value <= 1.05:
        text = f"the prediction {value:.3g} is no share: the network is unlike those of the run"
        return Estimate(name, reason=text)
    clip = [None if end is None else min(max(end, 0.0), 1.0) for end in (value, low, high)]
    return Estimate(name, clip[0], clip[1], clip[2], reason)
