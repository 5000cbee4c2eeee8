"""Records of predicted properties: R2, tau, tau above chance, error, with bootstrapped intervals."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.predict.bootstrap import Score, bootstrap
from weightatlas.predict.ceiling import ceiling
from weightatlas.predict.metrics import above_chance, kendall, mae, r2
from weightatlas.predict.property import PropertyPredictor
from weightatlas.results import Record

NAMES = ("tau", "tau above chance", "R2", "MAE")
LEVEL = 0.9  # of intervals
TITLES = {
    "test_acc": "test accuracy",
    "generalization_gap": "generalization gap",
    "train_acc": "train accuracy",
}


def scored(
    predicted: Float[Tensor, "networks targets"],
    labels: dict[str, Tensor],
    targets: Sequence[str],
    classes: int,
    about: dict[str, Any],
    draws: int,
    rival: Float[Tensor, "networks targets"] | None = None,
    orders: Float[Tensor, "networks targets"] | None = None,
) -> list[Record]:
    """Score predictions of some properties; a score that is undefined on these networks is left out.

    Args:
        predicted: A column per property.
        labels: Measured properties, and "test_acc" for what lies above chance.
        targets: Names of the properties.
        classes: Classes of the task.
        about: Fields that all records share.
        draws: Bootstrap draws.
        rival: Predictions whose difference is bootstrapped on the same draws.
        orders: What tau is computed from, if not the predictions.

    Returns:
        Per property: `NAMES`, the ends of the 95 % intervals of tau and R2, and of the difference in tau.
    """
    good = above_chance(labels["test_acc"], classes)
    records = []
    for place, target in enumerate(targets):
        title = TITLES.get(target, target)
        true, own = labels[target].double().cpu(), predicted[:, place].cpu()
        order = own if orders is None else orders[:, place]
        other = None if rival is None else rival[:, place]
        found = _scores(own, order, true, good.cpu(), other, draws)
        for name, (value, spread, count) in found.items():
            fields = {"metric": f"{name} {title}", "value": value, "spread": spread, "n": count}
            records.append(Record.build({**about, **fields}))
    return records


def reach_of(
    predictor: PropertyPredictor, predicted: Float[Tensor, "networks targets"]
) -> Float[Tensor, "networks targets"] | None:
    """Half of the width of intervals; none if there are too few networks to measure it on."""
    found = predictor.calibration_
    try:
        return None if found is None else found.reach(predicted, LEVEL)
    except DataError:
        return None


def covered(
    predicted: Float[Tensor, "networks targets"],
    labels: dict[str, Tensor],
    targets: Sequence[str],
    reach: Float[Tensor, "networks targets"],
    about: dict[str, Any],
) -> list[Record]:
    """Say how often intervals hold the truth, and how wide they are.

    Args:
        predicted: A column per property.
        labels: Measured properties.
        targets: Names of the properties.
        reach: Half of the width of each interval.
        about: Fields that all records share.
    """
    records = []
    for place, target in enumerate(targets):
        error = (labels[target].double().cpu() - predicted[:, place].cpu()).abs()
        numbers = {"coverage": float((error <= reach[:, place]).double().mean())}
        numbers["interval width"] = 2 * float(reach[:, place].mean())
        for name, value in numbers.items():
            metric = f"{name} {TITLES.get(target, target)}"
            records.append(Record.build({**about, "metric": metric, "value": value, "n": len(error)}))
    return records


Found = dict[str, tuple[float, float | None, int]]


def _scores(
    own: Tensor, order: Tensor, true: Tensor, good: Tensor, rival: Tensor | None, draws: int
) -> Found:
    """Scores of one property: value, spread over draws, number of networks."""
    found: Found = {}
    cases: list[tuple[str, Score, Tensor, Tensor]] = [
        ("tau", kendall, order, true),
        ("tau above chance", kendall, order[good], true[good]),
        ("R2", r2, own, true),
        ("MAE", mae, own, true),
    ]
    for name, score, part, values in cases:
        try:
            interval = bootstrap(score, part, values, draws=draws)
        except DataError:
            continue
        found[name] = (interval.value, interval.spread, len(values))
        if name in ("tau", "R2"):
            found |= {f"{name} low": (interval.low, None, len(values))}
            found |= {f"{name} high": (interval.high, None, len(values))}
    if rival is not None and "tau" in found:
        gain = bootstrap(kendall, order, true, rival, draws=draws)
        numbers = {"value": gain.value, "low": gain.low, "high": gain.high}
        for end, value in numbers.items():
            suffix = "" if end == "value" else f" {end}"
            found[f"tau over boosting{suffix}"] = (value, None, len(true))
    return found


def ceiling_records(
    labels: dict[str, Tensor],
    targets: Sequence[str],
    images: dict[str, int],
    classes: int,
    about: dict[str, Any],
) -> list[Record]:
    """Score an oracle against labels measured on finitely many images, for properties made of accuracies.

    Args:
        labels: Measured accuracies "train_acc" and "test_acc".
        targets: Names of the properties; others than accuracies and their gap are left out.
        images: Images of the splits "train" and "test". An accuracy on training images is an exact count, but
            of one draw of images.
        classes: Classes of the task.
        about: Fields that all records share.
    """
    train, test = (labels[name].double().cpu() for name in ("train_acc", "test_acc"))
    parts = {
        "test_acc": [(test, images["test"], 1.0)],
        "train_acc": [(train, images["train"], 1.0)],
        "generalization_gap": [(train, images["train"], 1.0), (test, images["test"], -1.0)],
    }
    good = above_chance(test, classes)
    records = []
    for target in (name for name in targets if name in parts):
        above = [(accuracy[good], count, sign) for accuracy, count, sign in parts[target]]
        cases: list[tuple[str, Any, Score]] = [
            ("tau", parts[target], kendall),
            ("tau above chance", above, kendall),
            ("R2", parts[target], r2),
        ]
        for name, known, score in cases:
            if len(known[0][0]) < 2:
                continue
            fields = {
                "metric": f"{name} {TITLES[target]}",
                "value": ceiling(known, score),
                "n": len(known[0][0]),
            }
            records.append(Record.build({**about, **fields}))
    return records
