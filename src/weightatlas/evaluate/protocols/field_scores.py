"""Scores of rebuilt and of found shapes and images."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
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
    about = {**there.about(seed), "method": method, "kind": kind}
    return [Record.build({**about, "metric": name, "value": value}) for name, value in numbers.items()]
