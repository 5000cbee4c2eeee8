"""PropertyPredictor: from networks to their properties, in scikit-learn's manner."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.encoders.base import Encoder, settings_of
from weightatlas.errors import DataError, RunError
from weightatlas.predict import metrics
from weightatlas.predict.adjustable import Adjustable
from weightatlas.predict.calibrate import Networked, fit_headed, fit_tuned
from weightatlas.predict.features import Networks, as_batch, features_of, labels_of, splits_of
from weightatlas.predict.finetune import Finetuned, Finetuning, tuned
from weightatlas.predict.kinds import Scale, labelled, scales_of
from weightatlas.predict.outoffold import Calibration
from weightatlas.predict.ridge import LAMBDAS
from weightatlas.predict.saved import (
    Fitted,
    calibration_of,
    fitted_of,
    read_finetuned,
    read_head,
    write_head,
)
from weightatlas.weights.batch import Batch
from weightatlas.weights.spec import NetworkSpec

if TYPE_CHECKING:
    from weightatlas.predict.grades import Grader
    from weightatlas.zoo import Zoo


class PropertyPredictor(Adjustable):
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
        encoder: An encoder, or what needs none: "layer_statistics", "weights", "deep_statistics" or
            "pooled_statistics" (of any architecture).
        head: "ridge" (closed form), "boosting" (scikit-learn's histogram trees) or "committee" (three heads).
        lambdas: Regularizations the ridge chooses from.
        seed: Seed of the trees, and of a finetuned head.
        finetune: Train a copy of the encoder with a head of its own end to end; `head` then takes no part.
            True takes the default `Finetuning`.
        kinds: Property -> "real", "log" or "class"; of others the kind is told from the zoo's column: text is
            a class, a positive hyperparameter of wide range a logarithm.
    """

    def __init__(
        self,
        encoder: Encoder | str = "layer_statistics",
        head: Literal["ridge", "boosting", "committee"] = "ridge",
        lambdas: tuple[float, ...] = LAMBDAS,
        seed: int = 0,
        finetune: bool | Finetuning = False,
        kinds: Mapping[str, str] | None = None,
    ) -> None:
        self.encoder = encoder
        self.head = head
        self.lambdas = lambdas
        self.seed = seed
        self.finetune = finetune
        self.kinds = kinds

    def __repr__(self) -> str:
        source = self.encoder if isinstance(self.encoder, str) else self.encoder.name
        how = "finetune=True" if self._tuning is not None else f"head={self.head!r}"
        return f"PropertyPredictor({source!r}, {how})"

    def fit(
        self,
        networks: Batch | Networks,
        properties: str | tuple[str, ...],
        validation: Batch | Networks | None = None,
        out: str | Path | None = None,
        scales: Sequence[Scale] | None = None,
    ) -> Self:
        """Learn to predict one property, or several at once.

        Args:
            networks: A zoo or a batch with labels.
            properties: Names of the properties.
            validation: Held-out networks for choosing the regularization. Default: the val split of a whole
                zoo; leave-one-out for anything else. Finetuning keeps the state that is best on one half of
                them, by families, and takes the other half for intervals.
            out: Run folder of a finetuning; the same call continues it. Closed-form heads need none.
            scales: How each property is learned, if that is decided already.

        Raises:
            DataError: A property is missing or not finite.
            ConfigError: One closed-form head is asked for both classes and numbers.
        """
        names = (properties,) if isinstance(properties, str) else tuple(properties)
        if validation is None and "val" in splits_of(networks):
            validation = networks.split("val")  # type: ignore[union-attr]
        if "train" in splits_of(networks):
            networks = networks.split("train")  # type: ignore[union-attr]
        if scales is None:
            scales = scales_of(networks, names, self.kinds, validation)
        train = Networked.read(networks, names, scales)
        held = None if validation is None else Networked.read(validation, names, scales)
        self.fitted_: Fitted
        if self._tuning is not None:
            place = None if out is None else Path(out)
            found = fit_tuned(self.encoder, tuned(self._tuning, scales), self.seed, train, held, place)
        else:
            found = fit_headed(self.encoder, self.head, self.lambdas, self.seed, train, held)
        self.fitted_, self._calibrate = found
        self.properties_, self.scales_ = names, tuple(scales)
        self.specs_ = tuple({group.spec: None for group in train.batch})
        self.single_ = isinstance(properties, str)
        return self

    @property
    def calibration_(self) -> Calibration | None:
        """Predictions for networks that took no part in them, made when they are first asked for."""
        if callable(self._calibrate):
            self._calibrate = self._calibrate()
        return self._calibrate

    def predict(self, networks: Batch | Networks) -> Float[Tensor, "networks *targets"]:
        """Predict the properties of every given network, classes by their numbers (`scales_` has names).

        Returns:
            Float64, shape `(networks,)` for one property given by name, else `(networks, targets)`.
        """
        self._require_fit()
        predicted = self.units(self.learned(networks))
        return predicted[:, 0] if self.single_ else predicted

    def learned(self, networks: Batch | Networks) -> Float[Tensor, "networks targets"]:
        """Predict numbers as they are learned: logarithms where a property is learned as such."""
        self._require_fit()
        return self._answer(as_batch(networks, ()))

    def units(self, numbers: Float[Tensor, "networks targets"]) -> Float[Tensor, "networks targets"]:
        """Turn learned numbers, such as ends of intervals, into the properties' own units."""
        columns = zip(self.scales_, numbers.unbind(1), strict=True)
        return torch.stack([scale.units(column) for scale, column in columns], dim=1)

    def interval(
        self, networks: Batch | Networks, level: float = 0.9
    ) -> tuple[Float[Tensor, "networks *targets"], Float[Tensor, "networks *targets"]]:
        """Bounds that hold the true value of a new network with probability `level`.

        Their width comes from errors on networks that neither the fit nor the choice of settings behind an
        error has seen: out of fold for statistics, of validation networks for encoders, which were trained
        on the training networks, and of the half that chose nothing for finetuned ones. Intervals are wider
        where predictions are of a size at which errors were large.

        Raises:
            DataError: There were too few such networks, or none, or all properties are classes.
        """
        self._require_fit()
        if all(scale.kind == "class" for scale in self.scales_):
            raise DataError("A class has no interval.")
        if self.calibration_ is None:
            raise DataError(
                "Intervals need validation networks, and the predictor was fitted without any.",
                todo="Pass validation=... to fit.",
            )
        center = self.learned(networks)
        reach = self.calibration_.reach(center, level)
        for place, scale in enumerate(self.scales_):
            if scale.kind == "class":
                reach[:, place] = torch.nan
        low, high = self.units(center - reach), self.units(center + reach)
        return (low[:, 0], high[:, 0]) if self.single_ else (low, high)

    def grader(self, zoo: "Zoo", abstain: float = 0.02) -> "Grader":
        """Learn what is familiar, for calibrated grades: wide intervals for strangers, or none.

        Networks are also run on unlabelled training images where the zoo knows their code.

        Example:
            >>> grades = predictor.grader(zoo).grade(zoo.split("test").batch())  # doctest: +SKIP

        Args:
            zoo: A whole zoo with train and val networks; best the one the predictor was fitted on.
            abstain: Share of validation networks that may be turned away.

        Raises:
            DataError: The zoo is not whole, or has too few val networks.
        """
        from weightatlas.predict.grades import grader_of

        self._require_fit()
        return grader_of(self, zoo, abstain)

    def bind(self, zoo: "Zoo") -> None:
        """Lend the code of a zoo's networks to an encoder that runs networks."""
        for part in (self.encoder, getattr(getattr(self, "fitted_", None), "encoder", None)):
            if isinstance(part, Encoder) and part.executes:
                for spec in zoo.specs:
                    part.bind(zoo.network(spec))

    def score(self, networks: Batch | Networks, metric: Literal["r2", "kendall", "mae"] = "r2") -> float:
        """Score predictions as they are learned; the mean over properties if there are several.

        Classes are scored by their accuracy, whatever the metric.

        Raises:
            DataError: A property is constant on these networks.
        """
        self._require_fit()
        if "test" in splits_of(networks):
            networks = networks.split("test")  # type: ignore[union-attr]
        batch = labelled(networks, self.scales_)
        predicted, true = self._answer(batch), labels_of(batch, self.properties_).cpu()
        compare = {"r2": metrics.r2, "kendall": metrics.kendall, "mae": metrics.mae}
        scores = [
            metrics.accuracy(predicted[:, t], true[:, t], f"property '{scale.name}'")
            if scale.kind == "class"
            else compare[metric](predicted[:, t], true[:, t], f"property '{scale.name}'")
            for t, scale in enumerate(self.scales_)
        ]
        return sum(scores) / len(scores)

    def save(self, folder: str | Path) -> None:
        """Write the head as safetensors and JSON; a finetuned encoder along with it, any other on its own."""
        self._require_fit()
        source = self.encoder if isinstance(self.encoder, str) else settings_of(self.encoder)
        about: dict[str, Any] = {
            "encoder": source,
            "head": self.head,
            "lambdas": list(self.lambdas),
            "seed": self.seed,
            "properties": list(self.properties_),
            "single": self.single_,
            "scales": [scale.model_dump(mode="json") for scale in self.scales_],
            "specs": [spec.model_dump(mode="json") for spec in self.specs_],
        }
        write_head(folder, self.fitted_, self.calibration_, about, self._tuning)

    @classmethod
    def load(cls, folder: str | Path, encoder: Encoder | None = None) -> "PropertyPredictor":
        """Read a head back; trees are fitted again from their training table.

        Args:
            folder: Where `save` wrote to.
            encoder: The encoder it was fitted with, unless it was a floor or was finetuned.

        Raises:
            FileError: The folder holds no predictor, or a damaged one.
            RunError: The encoder is missing or another one.
        """
        about, tensors = read_head(folder)
        source, tuning = about["encoder"] if isinstance(about["encoder"], str) else encoder, False
        if about.get("finetune") is not None:
            tuning = Finetuning.build(about["finetune"], where=f"In {folder}/predictor.json.")
            fitted = read_finetuned(folder, about, tensors, tuning)
            source = fitted.encoder
        elif source is None or (isinstance(source, Encoder) and settings_of(source) != about["encoder"]):
            wanted: Any = about["encoder"]
            name = wanted["encoder"]
            raise RunError(f"This head belongs to an encoder '{name}'; none or another one was given.")
        else:
            fitted = fitted_of(about, tensors)
        predictor = cls(source, about["head"], tuple(about["lambdas"]), about["seed"], tuning)
        predictor.properties_, predictor.single_ = tuple(about["properties"]), about["single"]
        kept = about.get("scales") or [{"name": name} for name in predictor.properties_]
        predictor.scales_ = tuple(Scale.build(scale) for scale in kept)
        predictor.specs_ = tuple(NetworkSpec.build(spec) for spec in about.get("specs", ()))
        predictor._calibrate = calibration_of(tensors)
        predictor.fitted_ = fitted
        return predictor

    @property
    def _tuning(self) -> Finetuning | None:
        """How to finetune, or none."""
        return Finetuning() if self.finetune is True else (self.finetune or None)

    def _answer(self, batch: Batch) -> Tensor:
        """Predict with whatever was fitted."""
        if isinstance(self.fitted_, Finetuned):
            return self.fitted_.predict(batch)
        return self.fitted_.predict(features_of(self.encoder, batch).cpu())

    def _require_fit(self) -> None:
        if not hasattr(self, "fitted_"):
            raise RunError(f"{self!r} has not been fitted.", todo="Call fit(zoo, 'test_acc') first.")
