"""Scores of rebuilt and of found shapes and images."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.evaluate.protocols.field_stage import FieldStage
from weightatlas.results import Kind, Record


def judged(
    there: FieldStage,
    fields: Float[Tensor, "networks *cells"],
    method: str,
    kind: Kind,
    seed: int = 0,
    more: dict[str, float] | None = None,
) -> list[Record]:
    """Compare what rebuilt networks represent with their originals."""
    alike = there.likeness(fields, there.test_fields).double()
    numbers = {
        "likeness": float(alike.mean()),
        "likeness, 10th percentile": float(alike.quantile(0.1)),
        **(more or {}),
    }
    about = {**there.about(seed), "method": method, "kind": kind}
    spread = {"likeness": float(alike.std())}
    return [
        Record.build({**about, "metric": name, "value": value, "spread": spread.get(name)})
        for name, value in numbers.items()
    ]


def retrieved(
    there: FieldStage,
    embeddings: Sequence[Float[Tensor, "networks dim"]],
    method: str,
    kind: Kind,
    seed: int = 0,
) -> list[Record]:
    """Is the most similar training shape among the nearest embeddings, is the nearest of the same class?"""
    gallery, asked = embeddings
    order = torch.cdist(asked, gallery).argsort(1)
    best = there.overlaps.argmax(1, keepdim=True)
    numbers = {f"nearest shape@{k}": float((order[:, :k] == best).any(1).float().mean()) for k in (1, 5)}
    classes, own = (torch.from_numpy(there.labels(part).copy()) for part in ("train", "test"))
    if len(classes.unique()) > 1:
        numbers["class accuracy"] = float((classes[order[:, 0].cpu()] == own).float().mean())
        numbers["class accuracy, linear"] = told(gallery, classes, asked, own)
    about = {**there.about(seed), "method": method, "kind": kind}
    return [Record.build({**about, "metric": name, "value": value}) for name, value in numbers.items()]


def told(
    gallery: Float[Tensor, "training dim"],
    classes: Int[Tensor, " training"],
    asked: Float[Tensor, "networks dim"],
    own: Int[Tensor, " networks"],
) -> float:
    """Share of networks whose class a logistic regression on embeddings tells, fitted on training networks.

    Embeddings are standardized over the training networks; the penalty is fixed, so that nothing is chosen.
    """
    from sklearn.linear_model import LogisticRegression

    mean, spread = gallery.mean(0), gallery.std(0).clamp(min=1e-12)
    known, new = (((x - mean) / spread).double().cpu().numpy() for x in (gallery, asked))
    found = LogisticRegression(C=0.01, max_iter=1000).fit(known, classes.numpy())
    return float((found.predict(new) == own.numpy()).mean())


def majority(there: FieldStage) -> list[Record]:
    """Name the most frequent class of the training signals for everyone; nothing if there is one class."""
    classes, own = (torch.from_numpy(there.labels(part).copy()) for part in ("train", "test"))
    if len(classes.unique()) < 2:
        return []
    value = float((own == classes.mode().values).float().mean())
    about = {**there.about(), "method": "majority", "kind": "baseline"}
    return [
        Record.build({**about, "metric": metric, "value": value})
        for metric in ("class accuracy", "class accuracy, linear")
    ]
