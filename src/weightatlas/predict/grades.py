"""Calibrated grades: wide intervals far from the training networks, and no answer beyond."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from weightatlas.atomic import replacing, write_text
from weightatlas.encoders.probes import Codes
from weightatlas.errors import DataError, FileError, NoCode, ZooError
from weightatlas.predict.familiar import behavior, consensus, distance_from, held_out, region_of, structure
from weightatlas.predict.features import features_of, labels_of
from weightatlas.predict.graded import Grades
from weightatlas.predict.intervals import radius
from weightatlas.predict.kept import bind_registered, mark_of
from weightatlas.predict.kinds import labelled
from weightatlas.predict.outoffold import Calibration
from weightatlas.predict.property import PropertyPredictor
from weightatlas.tasks import QueryPool
from weightatlas.weights.batch import Batch, weights_of
from weightatlas.weights.spec import NetworkSpec
from weightatlas.zoo import Zoo

INPUTS = 256  # unlabelled inputs on which networks are run


class Grader:
    """Grades networks with a fitted predictor.

    Three things are compared with the training networks: the predictor's own features, how the weights are
    built, and, once `bind` gave it code and unlabelled inputs, what the networks answer. Each distance is one
    of Mahalanobis with a shrunken covariance, 0 at the median calibrating network and 1 where a tenth of
    them lie farther; the largest counts. Errors of calibrating networks are divided by the distance
    beyond 1 before their conformal quantile is taken, and intervals are multiplied by it again: they grow
    with distance, and still hold the truth with the wanted probability for networks like these.
    Networks farther away than all but a share `abstain` of these get no grade, and so do architectures that
    were not among the training networks. The predictor says which networks calibrate: out of fold, both
    distance and error are those of a fit that did not know the network.

    Weights alone tell little about networks that were trained alike on other data; without `bind`, expect
    to be fooled by them.

    Example:
        >>> grader = Grader(predictor).bind(zoo.network(), pool.inputs)              # doctest: +SKIP
        >>> grades = grader.fit(train, validation).grade(others)                     # doctest: +SKIP

    Args:
        predictor: A fitted predictor.
        abstain: Share of validation networks that may be turned away.
    """

    def __init__(self, predictor: PropertyPredictor, abstain: float = 0.02) -> None:
        self.predictor, self.abstain = predictor, abstain
        self.tensors: dict[str, Tensor] = {}
        self.functions: list[str] = []
        self.codes = Codes()
        self.recipes: dict[str, dict[str, Any]] = {}

    def bind(self, network: nn.Module, inputs: Tensor | None = None) -> "Grader":
        """Give the code of one architecture, and once, before `fit`, unlabelled inputs of the training task.

        Args:
            network: Any network of the architecture.
            inputs: At most `INPUTS` of them are used; a grader that was read back has its own.
        """
        if inputs is not None and "inputs" not in self.tensors:
            self.tensors["inputs"] = inputs[:: max(len(inputs) // INPUTS, 1)][:INPUTS].cpu().contiguous()
        if "inputs" not in self.tensors:
            raise DataError("The grader has no inputs to run networks on.", todo="Pass inputs to bind.")
        self.codes.add(network, tuple(self.tensors["inputs"].shape[1:]))
        return self

    def fit(self, train: Batch, validation: Batch) -> "Grader":
        """Learn what is familiar from training networks, and how far off predictions are from validation
        ones.

        Args:
            train: Networks the predictor was fitted on.
            validation: Others of the same kind, with labels; never test networks.

        Raises:
            DataError: A property is a class, of which there are no intervals.
        """
        scales, names = self.predictor.scales_, self.predictor.properties_
        if any(scale.kind == "class" for scale in scales):
            raise DataError("Classes have no intervals, so they are not graded.", todo="Predict numbers.")
        train, validation = labelled(train, scales), labelled(validation, scales)
        self.functions = sorted({_function(group.spec) for group in train})
        self.tensors = {name: own for name, own in self.tensors.items() if name == "inputs"}
        if self.codes.known:
            self.tensors["usual"] = consensus(self._outputs(train))
        calibration = self._calibration(train, validation, names)
        known, far = calibration.known, {}
        of_train, of_held = self._features(train), self._features(validation)
        for name in of_train.keys() & of_held.keys():
            far[name] = held_out(of_train[name], of_held[name], calibration.fold)[known]
            unit = torch.quantile(far[name], torch.tensor([0.5, 0.9], dtype=far[name].dtype))
            parts = {**region_of(of_train[name]), "unit": torch.stack([unit[0], unit[1] - unit[0]])}
            parts["unit"][1].clamp_min_(1e-9)
            self.tensors |= {f"{name}.{part}": own for part, own in parts.items()}
        distance = self._largest(far)
        scores = calibration.residuals / distance.clamp_min(1)[:, None]
        self.tensors |= {"distances": distance, "scores": scores}
        return self

    def _calibration(self, train: Batch, validation: Batch, names: tuple[str, ...]) -> Calibration:
        """The predictor's own calibration if it is of these networks, else the validation networks.

        A single family of validation networks both chooses and calibrates.
        """
        true = torch.cat([labels_of(part, names).cpu() for part in (train, validation)])
        own = self.predictor.calibration_
        if own is not None and torch.equal(own.true, true) and bool(own.known.any()):
            return own
        predicted = torch.full(true.shape, math.nan, dtype=torch.float64)
        predicted[len(train) :] = self._predicted(validation)
        return Calibration(predicted, true, torch.where(torch.isfinite(predicted).all(1), 0, -1))

    def grade(self, networks: Batch, level: float = 0.9) -> Grades:
        """Predict with intervals, or abstain.

        Args:
            networks: Any networks; unknown architectures are turned away.
            level: Wanted coverage.

        Raises:
            DataError: There were too few validation networks for this level, or `fit` was not called.
        """
        if "scores" not in self.tensors:
            raise DataError("The grader knows no networks.", todo="Call fit(train, validation) first.")
        count, targets = len(networks), len(self.predictor.properties_)
        reach = radius(self.tensors["scores"], level)
        predicted = torch.full((count, targets), math.nan, dtype=torch.float64)
        distance = torch.full((count,), math.inf, dtype=torch.float64)
        for group in networks:
            sound = torch.isfinite(group.values).all(1)
            if _function(group.spec) not in self.functions or not bool(sound.any()):
                continue
            alone = Batch((type(group)(group.values[sound], group.spec, torch.arange(int(sound.sum()))),))
            rows = group.rows[sound.cpu()]
            predicted[rows], distance[rows] = self._predicted(alone), self._distance(alone)
        known = self.tensors["distances"].sort().values
        beyond = len(known) - torch.searchsorted(known, distance)
        familiar = (1 + beyond).double() / (len(known) + 1)
        # With fewer validation networks than the share asks for, beyond all of them is beyond.
        abstained = familiar <= max(self.abstain, 1 / (len(known) + 1))
        width = reach * distance.clamp_min(1)[:, None]
        width[abstained] = math.inf
        predicted[abstained] = math.nan
        center = predicted.nan_to_num(0.0)
        low, high = self.predictor.units(center - width), self.predictor.units(center + width)
        return Grades(self.predictor.units(predicted), low, high, distance, familiar, abstained)

    def save(self, folder: str | Path) -> None:
        """Write what was learned beside the predictor's files, which are written first."""
        folder = Path(folder)
        with replacing(folder / "grader.safetensors") as temporary:
            save_file({name: tensor.contiguous() for name, tensor in self.tensors.items()}, temporary)
        about: dict[str, Any] = {"version": 1, "abstain": self.abstain, "functions": self.functions}
        about |= {"networks": self.recipes, "predictor": mark_of(folder)}
        write_text(folder / "grader.json", json.dumps(about, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path, predictor: PropertyPredictor) -> "Grader":
        """Read a grader back, with the code of registered networks; `blind` if it lacks code it ran.

        Raises:
            FileError: The folder holds none, a damaged one, or one of another predictor.
        """
        try:
            about = json.loads((Path(folder) / "grader.json").read_text(encoding="utf-8"))
            grader = cls(predictor, about["abstain"])
            grader.functions, grader.tensors = (
                about["functions"],
                load_file(Path(folder) / "grader.safetensors"),
            )
        except Exception as error:
            raise FileError(f"{folder} holds no readable grader: {error}") from None
        if about.get("predictor", mark_of(folder)) != mark_of(folder):
            todo = "Make it anew: weightatlas predict ZOO --run RUN --grade, or --save FOLDER --grade."
            raise FileError(f"The grader in {folder} was made for another predictor.", todo=todo)
        for function, known in about.get("networks", {}).items():
            bind_registered(grader, function, known)
        return grader

    @property
    def blind(self) -> bool:
        """Whether networks are compared by their weights alone, which tell little."""
        return "usual" not in self.tensors or not set(self.functions) <= set(self.codes.known)

    def _features(self, batch: Batch) -> dict[str, Tensor]:
        """What distances are measured in; structure only where all networks have one layout."""
        source = getattr(self.predictor.fitted_, "encoder", self.predictor.encoder)
        found = {"own": features_of(source, batch).double().cpu()}
        if len({group.spec.layout_id for group in batch}) == 1:
            found["structure"] = batch.join([structure(g.values.cpu(), g.spec) for g in batch])
        if not self.blind:
            found["behavior"] = behavior(self._outputs(batch), self.tensors["usual"])
        return found

    def _outputs(self, batch: Batch) -> Float[Tensor, "networks inputs classes"]:
        """Run networks on the unlabelled inputs, in the caller's order."""
        parts = []
        for group in batch:
            chunks = (weights_of(values, group.spec) for values in group.values.cpu().split(64))
            with torch.no_grad():
                parts.append(torch.cat([self.codes.run(chunk, self.tensors["inputs"]) for chunk in chunks]))
        return batch.join(parts)

    def _distance(self, batch: Batch) -> Float[Tensor, " networks"]:
        """The largest of the distances from the training networks."""
        found = {}
        for name, features in self._features(batch).items():
            prefix = f"{name}."
            own = {n.removeprefix(prefix): t for n, t in self.tensors.items() if n.startswith(prefix)}
            if own:
                found[name] = distance_from(own, features)
        return self._largest(found)

    def _largest(self, far: dict[str, Tensor]) -> Float[Tensor, " networks"]:
        """0 for the median calibrating network, 1 where a tenth of them lie farther."""
        units = {name: self.tensors[f"{name}.unit"] for name in far}
        return torch.stack([(far[name] - middle) / reach for name, (middle, reach) in units.items()]).amax(0)

    def _predicted(self, batch: Batch) -> Float[Tensor, "networks targets"]:
        return self.predictor.learned(batch)


def grader_of(predictor: PropertyPredictor, zoo: Zoo, abstain: float = 0.02) -> Grader:
    """Fit a grader on the train and val networks of a zoo; it runs networks where the zoo knows their code.

    Args:
        predictor: A fitted predictor.
        zoo: A whole zoo.
        abstain: Share of validation networks that may be turned away.

    Raises:
        DataError: The zoo has no train or no val networks.
    """
    found = set(zoo.column("split").tolist())
    if not {"train", "val"} <= found:
        raise DataError(
            f"Grades need the train and val networks of a zoo; this one has {', '.join(sorted(found))}.",
            todo="Pass the whole zoo, not one split of it.",
        )
    grader = Grader(predictor, abstain)
    try:
        networks = [zoo.network(spec) for spec in zoo.specs]
        inputs = QueryPool(zoo.task()).inputs
    except (NoCode, ZooError, DataError):
        networks, inputs = [], None
    for network in networks:
        grader.bind(network, inputs)
    known = {key: zoo.header.networks.get(key) for key in grader.codes.known}
    grader.recipes = {
        key: record.model_dump(mode="json") for key, record in known.items() if record is not None
    }
    labels = predictor.properties_
    return grader.fit(zoo.split("train").batch(labels=labels), zoo.split("val").batch(labels=labels))


def _function(spec: NetworkSpec) -> str:
    return spec.function_id or spec.layout_id
