"""What a property is predicted from: an encoder's embeddings or a trivial floor."""

from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.encoders.base import Encoder
from weightatlas.errors import ConfigError, DataError, SpecError
from weightatlas.weights.batch import Batch
from weightatlas.weights.deep_statistics import deep_statistics
from weightatlas.weights.statistics import layer_statistics

FLOORS = ("layer_statistics", "weights", "deep_statistics", "pooled_statistics")


class Networks(Protocol):
    """What is needed of a zoo: its networks as a batch with labels by name, and its columns."""

    def batch(self, labels: tuple[str, ...] = ()) -> Batch: ...

    def column(self, name: str) -> np.ndarray: ...


def features_of(source: Encoder | str, batch: Batch) -> Float[Tensor, "networks features"]:
    """Turn networks into one feature vector each, in the caller's order.

    Args:
        source: An encoder, or what needs none: "layer_statistics" (moments and quantiles of each tensor),
            "weights" (the flat vector itself), "deep_statistics" (spectra, neurons and passing signals
            besides) or "pooled_statistics" (the same over all layers, for any architecture).
        batch: The networks.

    Returns:
        Features, shape `(networks, features)`.

    Raises:
        SpecError: A floor was asked of networks with different layouts.
        ConfigError: The source is unknown.
    """
    if isinstance(source, Encoder):
        return source.embed(batch)
    if source not in FLOORS:
        raise ConfigError(
            f"Properties cannot be predicted from {source!r}.",
            todo=f"Pass an encoder, or one of: {', '.join(FLOORS)}.",
        )
    if source == "pooled_statistics":
        return batch.join([deep_statistics(group.values, group.spec, pooled=True) for group in batch])
    layouts = {group.spec.layout_id for group in batch}
    if len(layouts) > 1:
        raise SpecError(
            f"'{source}' compares networks number by number; these have {len(layouts)} layouts.",
            todo="Predict per layout, or use an encoder that accepts any layout.",
        )
    if source == "weights":
        return batch.join([group.values for group in batch])
    describe = deep_statistics if source == "deep_statistics" else layer_statistics
    return batch.join([describe(group.values, group.spec) for group in batch])


def labels_of(batch: Batch, properties: tuple[str, ...]) -> Float[Tensor, "networks targets"]:
    """Stack named labels as columns.

    Raises:
        DataError: A label is missing or holds values that are not finite.
    """
    missing = [name for name in properties if name not in batch.labels]
    if missing:
        known = ", ".join(sorted(batch.labels)) or "none"
        raise DataError(f"The networks have no property '{missing[0]}'.", todo=f"Known: {known}.")
    labels = torch.stack([torch.as_tensor(batch.labels[name]).double() for name in properties], dim=1)
    bad = int((~torch.isfinite(labels).all(1)).sum())
    if bad:
        raise DataError(
            f"{bad} of {len(labels)} networks have no finite {' or '.join(properties)}.",
            todo="Filter them out before fitting.",
        )
    return labels


def as_batch(networks: Batch | Networks, names: tuple[str, ...]) -> Batch:
    """Read a zoo into a batch with the wanted labels."""
    return networks if isinstance(networks, Batch) else networks.batch(labels=names)


def relatives_of(networks: Batch | Networks) -> np.ndarray:
    """Name the family of every network: its lineage in a zoo, itself in a batch."""
    if isinstance(networks, Batch):
        return np.arange(len(networks)).astype(str)
    return networks.column("lineage").astype(str)


def splits_of(networks: Batch | Networks) -> set[str]:
    """Names of the splits of a whole zoo; empty for a batch or a part that was split off before."""
    if isinstance(networks, Batch) or getattr(networks, "split_by", "whole") is not None:
        return set()
    found = set(networks.column("split").tolist())  # type: ignore[attr-defined]
    return found if len(found) > 1 else set()
