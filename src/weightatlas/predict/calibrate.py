"""Fits that know what their intervals may be measured on: never what was fitted on or chose a setting."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from weightatlas.encoders.base import Encoder
from weightatlas.errors import ConfigError
from weightatlas.predict.classify import fit_classes
from weightatlas.predict.features import Networks, as_batch, features_of, labels_of, relatives_of
from weightatlas.predict.finetune import Finetuned, Finetuning, finetune
from weightatlas.predict.heads import Heads, Table, fit_head
from weightatlas.predict.kinds import Scale, labelled
from weightatlas.predict.outoffold import Calibration, folds_of, out_of_fold
from weightatlas.weights.batch import Batch, Weights

Calibrate = Callable[[], Calibration | None]


@dataclass(frozen=True, eq=False)
class Networked:
    """Networks with properties, and which of them are relatives.

    Args:
        batch: The networks.
        names: Properties.
        relatives: Family of each.
        classes: Which properties are classes.
    """

    batch: Batch
    names: tuple[str, ...]
    relatives: np.ndarray
    classes: tuple[str, ...] = ()

    @classmethod
    def read(
        cls, networks: Batch | Networks, names: tuple[str, ...], scales: Sequence[Scale] = ()
    ) -> "Networked":
        """Read a zoo, or take a batch, in which nobody is known to be a relative."""
        batch = labelled(networks, scales) if scales else as_batch(networks, names)
        classes = tuple(scale.name for scale in scales if scale.kind == "class")
        return cls(batch, names, relatives_of(networks), classes)

    def table(self, source: Encoder | str) -> Table:
        """Features and properties."""
        return features_of(source, self.batch).cpu(), labels_of(self.batch, self.names).cpu()

    def rows(self, keep: Bool[Tensor, " networks"]) -> "Networked":
        """Keep some networks, in their order."""
        place = keep.cumsum(0) - 1
        groups = []
        for group in self.batch:
            own = keep[group.rows.cpu()].to(group.values.device)
            groups.append(Weights(group.values[own], group.spec, place[group.rows[own.cpu()].cpu()]))
        labels = {name: torch.as_tensor(label).cpu()[keep] for name, label in self.batch.labels.items()}
        found = tuple(group for group in groups if len(group))
        return replace(self, batch=Batch(found, labels), relatives=self.relatives[keep.numpy()])


def fit_headed(
    source: Encoder | str,
    head: str,
    lambdas: tuple[float, ...],
    seed: int,
    train: Networked,
    held: Networked | None,
) -> tuple[Heads, Calibrate]:
    """Fit a head on features, and say how it is calibrated: out of fold, when somebody asks.

    Args:
        source: What the features come from.
        head: Its name.
        lambdas: Regularizations the ridge chooses from.
        seed: Seed of trees.
        train: Training networks.
        held: Networks that choose settings.

    Raises:
        ConfigError: Some properties are classes and others are numbers.
    """
    if train.classes and len(train.classes) < len(train.names):
        raise ConfigError(
            f"One head cannot predict both classes ({', '.join(train.classes)}) and numbers.",
            todo="Fit a predictor for each, or train an encoder on all of them: weightatlas fit sne ...",
        )
    tables = train.table(source), None if held is None else held.table(source)
    if train.classes:
        return fit_classes(head, *tables, seed=seed), lambda: None
    fit = partial(fit_head, head, lambdas=lambdas, seed=seed)
    families = [[f"{part}/{name}" for name in own.relatives] for part, own in enumerate((train, held)) if own]
    relatives = np.array([name for part in families for name in part])
    return fit(*tables), partial(out_of_fold, fit, *tables, relatives, isinstance(source, str))


def fit_tuned(
    source: Encoder | str,
    tuning: Finetuning,
    seed: int,
    train: Networked,
    held: Networked | None,
    out: Path | None = None,
) -> tuple[Finetuned, Calibrate]:
    """Train an encoder and a head; one half of the validation networks chooses, the other calibrates.

    Args:
        source: Where the training starts.
        tuning: Its settings.
        seed: Seed of the head and the training.
        train: Training networks.
        held: Validation networks; all calibrate if nothing is chosen.
        out: Folder of the run.

    Raises:
        ConfigError: Statistics cannot be trained.
    """
    if isinstance(source, str):
        raise ConfigError(
            f"'{source}' cannot be finetuned.",
            todo="Pass an encoder, for example create_encoder('sne').",
        )
    given = source, train.batch, train.names, tuning
    if held is None:
        return finetune(*given, None, out, seed), lambda: None
    chooses = choosing(held.relatives, tuning)
    choosers = held.rows(chooses) if bool(chooses.any()) else held
    fitted = finetune(*given, choosers.batch, out, seed)

    true = torch.cat([labels_of(part.batch, part.names).cpu() for part in (train, held)])
    count = len(train.batch)

    def calibrate() -> Calibration:
        predicted = torch.full(true.shape, torch.nan, dtype=torch.float64)
        predicted[count:][~chooses] = fitted.predict(held.batch)[~chooses]
        fold = torch.where(torch.isfinite(predicted).all(1), 0, -1)
        return Calibration(predicted, true, fold)

    return fitted, calibrate


def choosing(relatives: np.ndarray, tuning: Finetuning) -> Bool[Tensor, " networks"]:
    """Say which validation networks choose the state: half of the families, or none if nothing is chosen.

    Args:
        relatives: Family of each validation network.
        tuning: Settings of the training.
    """
    chosen = tuning.select != "none" and tuning.fit.validate_every > 0
    return (folds_of(relatives, 2) == 0) & chosen
