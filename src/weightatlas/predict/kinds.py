"""What kind of property is predicted, and how its values become numbers to learn and back."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import model_validator
from torch import Tensor

from weightatlas.config import Config
from weightatlas.errors import ConfigError, DataError
from weightatlas.predict.features import Networks
from weightatlas.weights.batch import Batch
from weightatlas.zoo.labels import as_label

PropertyKind = Literal["accuracy", "real", "log", "class"]
KINDS: tuple[PropertyKind, ...] = ("accuracy", "real", "log", "class")
CLASSES = ("label", "class", "task")  # columns of numbers that name a class
WIDE = 10.0  # largest over smallest value from which a hyperparameter is learned as a logarithm


class Scale(Config):
    """How one property is learned.

    Example:
        >>> Scale(name="hp.lr", kind="log").learned(np.array([1e-3, 1e-2]))
        tensor([-3., -2.])
        >>> optimizer = Scale(name="hp.optimizer", kind="class", classes=("adam", "sgd"))
        >>> optimizer.learned(np.array(["sgd", "lion"]))
        tensor([ 1., -1.])

    Args:
        name: The property.
        kind: "real" and "accuracy" as they are, "log" as decimal logarithms, "class" as numbers of classes.
        classes: Names of the classes, in order; none where labels are numbers of classes already.
    """

    name: str
    kind: PropertyKind = "real"
    classes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _only_classes_have_names(self) -> "Scale":
        if self.classes and self.kind != "class":
            raise ValueError(f"property '{self.name}': only classes have names")
        return self

    @property
    def title(self) -> str:
        """Name of what is scored."""
        return f"log10 {self.name}" if self.kind == "log" else self.name

    def learned(self, column: np.ndarray) -> Float[Tensor, " networks"]:
        """Turn values into numbers to learn; an unknown class is -1.

        Raises:
            DataError: A value has no logarithm.
        """
        if self.kind == "class":
            if not self.classes:
                return torch.from_numpy(column.astype(np.float32))
            places = {name: place for place, name in enumerate(self.classes)}
            return torch.tensor([float(places.get(named(value), -1)) for value in column.tolist()])
        found = as_label(self.name, column)
        if self.kind != "log":
            return found
        if not bool((found > 0).all()):
            raise DataError(
                f"'{self.name}' holds values that are not above 0, which have no logarithm.",
                todo=f"Take it as it is: --kinds {self.name}=real.",
            )
        return torch.from_numpy(np.log10(column.astype(np.float64)).astype(np.float32))

    def units(self, numbers: Float[Tensor, " networks"]) -> Float[Tensor, " networks"]:
        """Turn learned numbers back into the property's own units."""
        return 10.0**numbers if self.kind == "log" else numbers

    def answer(self, number: float) -> str:
        """Name a predicted class."""
        place = round(number)
        return self.classes[place] if 0 <= place < len(self.classes) else str(place)


def named(value: Any) -> str:
    """Name a value of a column of classes."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def scales_of(
    networks: Batch | Networks,
    names: Sequence[str],
    kinds: Mapping[str, str] | None = None,
    others: Batch | Networks | None = None,
) -> tuple[Scale, ...]:
    """Decide how each property is learned.

    Text and truth values are classes, and so are numbers under the names `CLASSES`; hyperparameters that are
    all positive and differ by a factor of `WIDE` are learned as logarithms; all else is taken as it is. The
    labels of a batch are numbers already, and only what `kinds` names is not taken as it is.

    Args:
        networks: Training networks.
        names: Properties.
        kinds: Property -> kind, by the caller's decision.
        others: Validation networks, whose classes are known too.

    Raises:
        ConfigError: A kind is unknown, or for none of the properties.
    """
    kinds = dict(kinds or {})
    for name, kind in kinds.items():
        if kind not in KINDS or name not in names:
            what = f"is of no kind '{kind}'" if name in names else "is not predicted"
            raise ConfigError(f"'{name}' {what}.", todo=f"Kinds: {', '.join(KINDS)}, as --kinds NAME=KIND.")
    if isinstance(networks, Batch):
        return tuple(Scale.build({"name": name, "kind": kinds.get(name, "real")}) for name in names)
    found = []
    for name in names:
        column = networks.column(name)
        kind = kinds.get(name) or inferred(networks, name, column)
        classes: set[str] = set()
        for part in (networks, others) if kind == "class" else ():
            if part is not None and not isinstance(part, Batch):
                classes |= {named(value) for value in part.column(name).tolist()}
        found.append(Scale.build({"name": name, "kind": kind, "classes": tuple(sorted(classes, key=_order))}))
    return tuple(found)


def inferred(networks: Networks, name: str, column: np.ndarray) -> PropertyKind:
    """Tell the kind of a property from its column."""
    if column.dtype == object or column.dtype.kind in "bUS":
        return "class"
    whole = column.dtype.kind in "iu" or bool((column == np.round(column)).all())
    if name in CLASSES and whole:
        return "class"
    if not _is_hyperparameter(networks, name) or not bool((column > 0).all()):
        return "real"
    return "log" if float(column.max()) >= WIDE * float(column.min()) else "real"


def labelled(networks: Batch | Networks, scales: Sequence[Scale]) -> Batch:
    """Read networks with their properties as numbers to learn.

    Args:
        networks: A zoo, or a batch with labels in the properties' own units, classes as numbers; a property
            may be missing.
        scales: How each property is learned.
    """
    if isinstance(networks, Batch):
        batch = networks
    else:
        numbers = tuple(scale.name for scale in scales if scale.kind != "class")
        batch = with_classes(networks.batch(labels=numbers), networks, scales)
    logs = [scale for scale in scales if scale.kind == "log" and scale.name in batch.labels]
    if not logs:
        return batch
    own = {scale.name: scale.learned(batch.labels[scale.name].cpu().numpy()) for scale in logs}
    return Batch(batch.groups, {**batch.labels, **own})


def with_classes(batch: Batch, networks: Networks, scales: Sequence[Scale]) -> Batch:
    """Add classes of a zoo's networks, as numbers, to the batch that was read of them."""
    classes = [scale for scale in scales if scale.kind == "class"]
    found = {scale.name: scale.learned(networks.column(scale.name)) for scale in classes}
    return Batch(batch.groups, {**batch.labels, **found}) if found else batch


def _is_hyperparameter(networks: Networks, name: str) -> bool:
    """Say whether a name is that of a column `hp.*`, or short for it."""
    known = getattr(getattr(networks, "table", None), "names", ())
    return name.startswith("hp.") or (name not in known and f"hp.{name}" in known)


def _order(name: str) -> tuple[int, float, str]:
    """Numbers by size, then words."""
    return (0, float(name), name) if name.replace(".", "", 1).isdigit() else (1, 0.0, name)
