"""PropertyPredictor: from networks to their properties, in scikit-learn's manner."""

import json
from pathlib import Path
from typing import Any, Literal, Self

from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from weightatlas.atomic import replacing, write_text
from weightatlas.encoders.base import Encoder, settings_of
from weightatlas.errors import ConfigError, DataError, FileError, RunError
from weightatlas.predict import intervals, metrics
from weightatlas.predict.features import Networks, features_of, labels_of
from weightatlas.predict.ridge import LAMBDAS, Ridge, fit_ridge
from weightatlas.predict.trees import Trees, fit_trees
from weightatlas.weights.batch import Batch

_RIDGE = ("mean", "std", "weight", "bias", "chosen", "scores")


class PropertyPredictor:
    """Predicts properties of networks (test accuracy, generalization gap, epoch) from their weights.

    Given a whole zoo, `fit` learns from its train split and chooses regularization on its val
    split; `predict` answers for every network it is given; `score` looks at the test split. Given
    a batch or one split of a zoo, each uses all networks of it.

    Example:
        >>> import torch
        >>> from weightatlas.weights.batch import batch_of
        >>> from weightatlas.weights.spec import NetworkSpec, Segment, TensorSpec
        >>> axes = ((Segment(members=2),),)
        >>> bias = TensorSpec(name="b", shape=(2,), role="bias", axes=axes, layer=0)
        >>> spec, values = NetworkSpec(tensors=(bias,)), torch.randn(20, 2)
        >>> batch = batch_of(values, spec, sum=values.sum(1))
        >>> round(PropertyPredictor("weights").fit(batch, "sum").score(batch), 3)
        1.0

    Args:
        encoder: An encoder, or a floor: "layer_statistics" or "weights".
        head: "ridge" (closed form) or "boosting" (scikit-learn's histogram trees).
        lambdas: Regularizations the ridge chooses from.
        seed: Seed of the trees.
    """

    def __init__(
        self,
        encoder: Encoder | str = "layer_statistics",
        head: Literal["ridge", "boosting"] = "ridge",
        lambdas: tuple[float, ...] = LAMBDAS,
        seed: int = 0,
    ) -> None:
        self.encoder = encoder
        self.head = head
        self.lambdas = lambdas
        self.seed = seed

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"encoder": self.encoder, "head": self.head, "lambdas": self.lambdas, "seed": self.seed}

    def set_params(self, **params: Any) -> Self:
        """Change constructor arguments; refit afterwards.

        Raises:
            ConfigError: There is no such argument.
        """
        for name, value in params.items():
            if name not in self.get_params():
                known = ", ".join(self.get_params())
                raise ConfigError(f"PropertyPredictor has no setting '{name}'.", todo=f"Known: {known}.")
            setattr(self, name, value)
        return self

    def __sklearn_clone__(self) -> "PropertyPredictor":
        """Copy without the fit; the encoder is shared, not copied."""
        return type(self)(**self.get_params())

    def __repr__(self) -> str:
        source = self.encoder if isinstance(self.encoder, str) else self.encoder.name
        return f"PropertyPredictor({source!r}, head={self.head!r})"

    def fit(
        self,
        networks: Batch | Networks,
        properties: str | tuple[str, ...],
        validation: Batch | Networks | None = None,
    ) -> Self:
        """Learn to predict one property, or several at once.

        Args:
            networks: A zoo or a batch with labels.
            properties: Names of the properties.
            validation: Held-out networks for choosing the regularization and for intervals. Default:
                the val split of a whole zoo; leave-one-out for anything else.

        Raises:
            DataError: A property is missing or not finite.
        """
        names = (properties,) if isinstance(properties, str) else tuple(properties)
        if validation is None and "val" in _splits(networks):
            validation = networks.split("val")  # type: ignore[union-attr]
        if "train" in _splits(networks):
            networks = networks.split("train")  # type: ignore[union-attr]
        data = self._table(networks, names)
        held = None if validation is None else self._table(validation, names)
        if self.head == "ridge":
            self.fitted_: Ridge | Trees = fit_ridge(*data, validation=held, lambdas=self.lambdas)
        elif self.head == "boosting":
            self.fitted_ = fit_trees(*data, validation=held, seed=self.seed)
        else:
            raise ConfigError(f"There is no head '{self.head}'.", todo="Known: ridge, boosting.")
        self.properties_ = names
        self.single_ = isinstance(properties, str)
        self.residuals_ = None if held is None else held[1] - self.fitted_.predict(held[0])
        return self

    def predict(self, networks: Batch | Networks) -> Float[Tensor, "networks *targets"]:
        """Predict the properties of every given network.

        Returns:
            Float64, shape `(networks,)` for one property given by name, else `(networks, targets)`.
        """
        self._require_fit()
        predicted = self.fitted_.predict(features_of(self.encoder, _batch(networks, ())).cpu())
        return predicted[:, 0] if self.single_ else predicted

    def interval(
        self, networks: Batch | Networks, level: float = 0.9
    ) -> tuple[Float[Tensor, "networks *targets"], Float[Tensor, "networks *targets"]]:
        """Bounds that hold the true value of a new network with probability `level`.

        The validation networks that chose the regularization also set the width; the choice is one
        number per property, so the effect on coverage is small.

        Raises:
            DataError: There were too few validation networks, or none.
        """
        self._require_fit()
        if self.residuals_ is None:
            raise DataError(
                "Intervals need validation networks, and the predictor was fitted without any.",
                todo="Pass validation=... to fit.",
            )
        reach = intervals.radius(self.residuals_, level)
        center = self.predict(networks)
        reach = reach[0] if self.single_ else reach
        return center - reach, center + reach

    def score(self, networks: Batch | Networks, metric: Literal["r2", "kendall", "mae"] = "r2") -> float:
        """Score predictions; the mean over properties if there are several.

        Raises:
            DataError: A property is constant on these networks.
        """
        self._require_fit()
        if "test" in _splits(networks):
            networks = networks.split("test")  # type: ignore[union-attr]
        features, true = self._table(networks, self.properties_)
        predicted = self.fitted_.predict(features)
        compare = {"r2": metrics.r2, "kendall": metrics.kendall}
        scores = [
            metrics.mae(predicted[:, t], true[:, t])
            if metric == "mae"
            else compare[metric](predicted[:, t], true[:, t], f"property '{name}'")
            for t, name in enumerate(self.properties_)
        ]
        return sum(scores) / len(scores)

    def save(self, folder: str | Path) -> None:
        """Write the head as safetensors and JSON; the encoder is saved on its own."""
        self._require_fit()
        source = self.encoder if isinstance(self.encoder, str) else settings_of(self.encoder)
        tensors = {} if self.residuals_ is None else {"residuals": self.residuals_}
        about: dict[str, Any] = {
            "version": 1,
            "encoder": source,
            "head": self.head,
            "lambdas": list(self.lambdas),
            "seed": self.seed,
            "properties": list(self.properties_),
            "single": self.single_,
        }
        if isinstance(self.fitted_, Ridge):
            tensors |= {name: getattr(self.fitted_, name) for name in _RIDGE}
        else:
            tensors |= {"features": self.fitted_.features, "targets": self.fitted_.targets}
            about["rounds"] = list(self.fitted_.rounds)
        contiguous = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        with replacing(Path(folder) / "predictor.safetensors") as temporary:
            save_file(contiguous, temporary)
        write_text(Path(folder) / "predictor.json", json.dumps(about, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path, encoder: Encoder | None = None) -> "PropertyPredictor":
        """Read a head back; trees are fitted again from their training table.

        Args:
            folder: Where `save` wrote to.
            encoder: The encoder it was fitted with, unless it was a floor.

        Raises:
            FileError: The folder holds no predictor, or a damaged one.
            RunError: The encoder is missing or another one.
        """
        folder = Path(folder)
        try:
            about = json.loads((folder / "predictor.json").read_text(encoding="utf-8"))
            tensors = load_file(folder / "predictor.safetensors")
        except Exception as error:
            raise FileError(f"{folder} holds no readable predictor: {error}") from None
        source = about["encoder"] if isinstance(about["encoder"], str) else encoder
        if source is None or (isinstance(source, Encoder) and settings_of(source) != about["encoder"]):
            name = about["encoder"]["encoder"]
            raise RunError(f"This head belongs to an encoder '{name}'; none or another one was given.")
        predictor = cls(source, about["head"], tuple(about["lambdas"]), about["seed"])
        predictor.properties_, predictor.single_ = tuple(about["properties"]), about["single"]
        predictor.residuals_ = tensors.get("residuals")
        if about["head"] == "ridge":
            predictor.fitted_ = Ridge(*(tensors[name] for name in _RIDGE))
        else:
            table = tensors["features"], tensors["targets"]
            predictor.fitted_ = fit_trees(*table, rounds=tuple(about["rounds"]), seed=about["seed"])
        return predictor

    def _table(self, networks: Batch | Networks, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        """Features and targets of networks."""
        batch = _batch(networks, names)
        return features_of(self.encoder, batch).cpu(), labels_of(batch, names).cpu()

    def _require_fit(self) -> None:
        if not hasattr(self, "fitted_"):
            raise RunError(f"{self!r} has not been fitted.", todo="Call fit(zoo, 'test_acc') first.")


def _batch(networks: Batch | Networks, names: tuple[str, ...]) -> Batch:
    """Read a zoo into a batch with the wanted labels."""
    return networks if isinstance(networks, Batch) else networks.batch(labels=names)


def _splits(networks: Batch | Networks) -> set[str]:
    """Names of the splits of a whole zoo; empty for a batch or a part that was split off before."""
    if isinstance(networks, Batch) or getattr(networks, "split_by", "whole") is not None:
        return set()
    found = set(networks.column("split").tolist())  # type: ignore[attr-defined]
    return found if len(found) > 1 else set()
