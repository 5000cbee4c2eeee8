"""Columns of freshly trained networks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from weightatlas.population.train import Checkpoint
from weightatlas.weights.spec import NetworkSpec
from weightatlas.zoo.header import Shares
from weightatlas.zoo.lineage import digest, split_of
from weightatlas.zoo.recipe import Run
from weightatlas.zoo.table import Table


def rows_of(
    runs: Sequence[Run],
    checkpoint: Checkpoint,
    spec: NetworkSpec,
    shares: Shares,
    **constants: str | None,
) -> Table:
    """Write the columns of one checkpoint of some networks.

    Args:
        runs: What the networks are.
        checkpoint: Their weights and metrics, in the same order.
        spec: Their layout.
        shares: Shares of the split.
        constants: Columns with one value for all rows (task, signature, source).
    """
    count, ids = len(runs), [run.id for run in runs]
    settings = [run.settings for run in runs]
    seeds = [s.key if s.init_seed is None else s.init_seed for s in settings]
    lineages = [
        digest("lineage", spec.layout_id, s.init, seed) for s, seed in zip(settings, seeds, strict=True)
    ]
    fixed = {"layout_id": spec.layout_id, "function_id": spec.function_id, "step": checkpoint.epoch}
    fixed |= {"lineage_source": "init", "parent": None, "split_official": None, **constants}
    columns: dict[str, Any] = {
        "id": [f"{name}-{checkpoint.epoch:04d}" for name in ids],
        "network": ids,
        **{name: [value] * count for name, value in fixed.items()},
        "seed": [s.key for s in settings],
        "init_seed": seeds,
        "lineage": lineages,
        "split": split_of(lineages, shares),
        "finite": checkpoint.finite.cpu().numpy(),
    }
    for name in runs[0].hyper:
        if name != "init_seed":
            columns[f"hp.{name}"] = [run.hyper[name] for run in runs]
    if runs[0].variant is not None:
        columns["hp.variant"] = [run.variant for run in runs]
    columns["hp.replicate"] = [run.replicate for run in runs]
    return Table.of(columns | metric_columns(checkpoint.metrics))


def metric_columns(metrics: Mapping[str, Float[Tensor, " networks"]]) -> dict[str, np.ndarray]:
    """Bring metrics to their fixed names and add the generalization gap."""
    columns = {name: values.double().cpu().numpy() for name, values in metrics.items()}
    if {"train_acc", "test_acc"} <= set(columns):
        columns["generalization_gap"] = columns["train_acc"] - columns["test_acc"]
    return columns
