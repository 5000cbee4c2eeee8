"""How well rebuilt networks behave like their originals."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.evaluate.exam import Exam, decide
from weightatlas.evaluate.reference import Reference, match
from weightatlas.results import Kind, Record

TERCILES = ("low", "middle", "high")


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """Rebuilt networks beside their originals, a number per network.

    Args:
        l2: Distance in the weights, over real weights only, shape `(networks,)`.
        agreement: Share of images on which both predict the same class.
        wrong: The same share among images the original gets wrong; NaN where it makes no error.
        kl: KL divergence of the rebuilt from the original output distribution, mean over images.
        accuracy: Accuracy of the rebuilt networks.
        original: Accuracy of the originals.
        reference: What is trivially reached on the same test networks, or none.
    """

    l2: Float[Tensor, " networks"]
    agreement: Float[Tensor, " networks"]
    wrong: Float[Tensor, " networks"]
    kl: Float[Tensor, " networks"]
    accuracy: Float[Tensor, " networks"]
    original: Float[Tensor, " networks"]
    reference: Reference | None = None

    @property
    def excess(self) -> float:
        """Excess agreement (a - a0) / (1 - a0); 0 is what training networks reach, 1 is perfect."""
        if self.reference is None:
            raise DataError("Excess agreement needs a reference.", todo="Pass reference=reference_of(...).")
        return self.reference.excess(float(self.agreement.double().mean()))

    @property
    def above(self) -> float:
        """Share of networks whose rebuild agrees more than their best trivial rebuild."""
        if self.reference is None:
            raise DataError("Comparing with trivial rebuilds needs a reference.", todo="Pass reference=...")
        return float((self.agreement > self.reference.best).double().mean())

    @property
    def tercile_errors(self) -> Float[Tensor, " 3"]:
        """Signed accuracy error (rebuilt - original) of the low, middle and high third of originals."""
        return tercile_errors(self.accuracy, self.original)

    def numbers(self) -> dict[str, tuple[float, float | None]]:
        """All metrics by name: (mean, standard deviation over networks or none)."""
        found: dict[str, tuple[float, float | None]] = {}
        if self.reference is not None:
            found["excess agreement"] = (self.excess, None)
        rows = {
            "agreement": self.agreement,
            "agreement where wrong": self.wrong[~self.wrong.isnan()],
            "KL": self.kl,
            "L2": self.l2,
            "accuracy": self.accuracy,
            "accuracy error": self.accuracy - self.original,
        }
        found |= {name: _mean_and_std(values) for name, values in rows.items()}
        if len(self.original) >= 3:
            errors = self.tercile_errors.tolist()
            found |= {f"accuracy error, {n} third": (e, None) for n, e in zip(TERCILES, errors, strict=True)}
        if self.reference is not None:
            found["share above trivial"] = (self.above, None)
        return found

    def records(self, method: str, kind: Kind = "ours", **context: Any) -> list[Record]:
        """Write all metrics as records; those that are not finite are left out.

        That happens to "agreement where wrong" if no original errs, and to L2 and KL if a rebuilt
        network holds NaN, whose predictions count as disagreement everywhere else.

        Args:
            method: Name of the row.
            kind: Whether it is ours or a baseline.
            context: Other fields of `Record`: bench, tier, zoo, seeds, ...
        """
        about = {"method": method, "kind": kind, "n": len(self.agreement), **context}
        return [
            Record.build({**about, "metric": name, "value": value, "spread": spread})
            for name, (value, spread) in self.numbers().items()
            if math.isfinite(value)
        ]


def compare(
    exam: Exam,
    originals: Float[Tensor, "networks params"],
    rebuilt: Float[Tensor, "networks params"],
    reference: Reference | None = None,
    outputs: Float[Tensor, "networks queries classes"] | None = None,
) -> Reconstruction:
    """Judge rebuilt networks against their originals, in chunks of the exam.

    Args:
        exam: The evaluation images.
        originals: Networks as rows.
        rebuilt: The same networks, rebuilt.
        reference: What is trivially reached, from `reference_of`.
        outputs: Outputs of the originals on the exam, if already known.

    Raises:
        DataError: The two sets differ in size.
    """
    if originals.shape != rebuilt.shape or not len(originals):
        shapes = f"{tuple(originals.shape)} and {tuple(rebuilt.shape)}"
        raise DataError(
            f"Originals and rebuilt networks have shapes {shapes}; they must be equal and not empty."
        )
    parts = []
    for start in range(0, len(originals), exam.chunk):
        rows = slice(start, start + exam.chunk)
        true = exam.outputs(originals[rows]) if outputs is None else outputs[rows]
        parts.append(_judge(true, exam.outputs(rebuilt[rows]), exam))
    columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    return Reconstruction(l2(originals, rebuilt), *columns, reference=reference)


def _judge(true: Tensor, ours: Tensor, exam: Exam) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Agreement, agreement where wrong, KL and both accuracies of one chunk."""
    original, rebuilt = decide(true), decide(ours)
    return (
        match(original, rebuilt),
        agreement_where_wrong(original, rebuilt, exam.labels),
        divergence(true, ours),
        exam.accuracy(rebuilt),
        exam.accuracy(original),
    )


def l2(
    originals: Float[Tensor, "networks params"], rebuilt: Float[Tensor, "networks params"]
) -> Float[Tensor, " networks"]:
    """Distance of each rebuilt network to its original over real weights."""
    return (originals.double() - rebuilt.double()).square().sum(1).sqrt().float()


def token_l2(
    originals: Float[Tensor, "networks tokens width"],
    rebuilt: Float[Tensor, "networks tokens width"],
    mask: Bool[Tensor, "tokens width"],
    legacy: bool = False,
) -> Float[Tensor, " networks"]:
    """Distance of token sequences.

    The distances printed in "Structure Is Not Enough" run over all slots, padding included, although
    nothing constrains what a decoder writes there; `legacy` does the same, only to compare with them.

    Args:
        originals: Tokens of the originals.
        rebuilt: Tokens as they come out of the decoder.
        mask: True where a slot holds a real weight.
        legacy: Count padding.
    """
    squares = (originals.double() - rebuilt.double()).square()
    squares = squares if legacy else squares * mask
    return squares.sum((1, 2)).sqrt().float()


def agreement_where_wrong(
    original: Int[Tensor, "networks queries"],
    rebuilt: Int[Tensor, "networks queries"],
    labels: Int[Tensor, " queries"],
) -> Float[Tensor, " networks"]:
    """Share of the original's errors that the rebuild repeats exactly; NaN where there are none.

    Good networks agree because they are right; repeating errors cannot be had by being right.
    """
    errs = original != labels.to(original.device)
    same = (original == rebuilt) & (original >= 0) & errs
    return same.sum(1).float() / errs.sum(1).float()


def divergence(
    true: Float[Tensor, "networks queries classes"], ours: Float[Tensor, "networks queries classes"]
) -> Float[Tensor, " networks"]:
    """KL divergence of softmax outputs, original || rebuilt, mean over queries, in nats."""
    log_true, log_ours = true.float().log_softmax(2), ours.float().log_softmax(2)
    return (log_true.exp() * (log_true - log_ours)).sum(2).mean(1)


def tercile_errors(
    accuracy: Float[Tensor, " networks"], original: Float[Tensor, " networks"]
) -> Float[Tensor, " 3"]:
    """Mean signed accuracy error in each third of the originals, worst originals first.

    Example:
        >>> original = torch.tensor([0.9, 0.3, 0.6])
        >>> tercile_errors(original + torch.tensor([0.0, 0.2, 0.1]), original)
        tensor([0.2000, 0.1000, 0.0000])

    Raises:
        DataError: There are fewer than three networks.
    """
    if len(original) < 3:
        raise DataError(f"Terciles need at least 3 networks; there are {len(original)}.")
    order = original.argsort(stable=True)
    thirds = (accuracy - original)[order].tensor_split(3)
    return torch.stack([third.mean() for third in thirds])


def _mean_and_std(values: Float[Tensor, " networks"]) -> tuple[float, float | None]:
    """Mean and standard deviation; NaN if there is nothing to average or a network diverged."""
    mean = float(values.double().mean())
    spread = float(values.double().std()) if len(values) > 1 else None
    return mean, spread if spread is not None and math.isfinite(spread) else None
