"""Columns of freshly trained networks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from weightatlas.population.train import Checkpoint, TrainConfig
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
    lineages = [_lineage(spec, s) for s in settings]
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


def _lineage(spec: NetworkSpec, settings: TrainConfig) -> str:
    """Name the family of a network by its first weights.

    All schemes shape the same draws: from one given seed their weights are, or nearly are, multiples.
    """
    if settings.init_seed is not None:
        return digest("lineage", spec.layout_id, "given seed", settings.init_seed)
    return digest("lineage", spec.layout_id, settings.init, settings.key)


def metric_columns(metrics: Mapping[str, Float[Tensor, " networks"]]) -> dict[str, np.ndarray]:
    """Bring metrics to their fixed names and add the generalization gap."""
    columns = {name: values.double().cpu().numpy() for name, values in metrics.items()}
    if {"train_acc", "test_acc"} <= set(columns):
        columns["generalization_gap"] = columns["train_acc"] - columns["test_acc"]
    return columns
