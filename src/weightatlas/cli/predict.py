"""weightatlas predict."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from weightatlas.cli import console
from weightatlas.cli.arguments import WrongUsage
from weightatlas.cli.arguments import pairs as pairs_of
from weightatlas.cli.inputs import open_encoder, open_part

if TYPE_CHECKING:
    from weightatlas.predict import PropertyPredictor
    from weightatlas.predict.grades import Grader
    from weightatlas.predict.kinds import Scale
    from weightatlas.results import Record
    from weightatlas.zoo import Zoo

Head = Literal["ridge", "boosting", "committee"]
Kind = Literal["ours", "baseline"]


def predict(
    zoo: Annotated[Path, tyro.conf.Positional],
    run: Path | None = None,
    property: tuple[str, ...] = (),
    kinds: tuple[str, ...] = (),
    head: Head = "ridge",
    grade: bool = False,
    level: float = 0.9,
    seed: int = 0,
    out: Path | None = None,
    save: Path | None = None,
    json: bool = False,
    dry_run: bool = False,
) -> None:
    """Predict properties of held-out networks from their weights, beside layer statistics and deep ones.

    A run of an encoder that was trained on properties (`weightatlas fit sne ...`) predicts with the head it
    was trained with; embeddings of any other encoder get a head here. With `--grade`, networks unlike the
    training networks get no prediction, and all others an interval. In a zoo of several layouts statistics
    are pooled over layers. What does not accept the networks has a row of `-` with the reason.
    Text (hp.optimizer, hp.init, task) is predicted as a class and scored by accuracy, a positive
    hyperparameter of wide range (hp.lr) as its decimal logarithm; `--kinds` decides otherwise.

    Example:
        weightatlas predict runs/digits-zoo --run runs/sane --property test_acc generalization_gap
        weightatlas predict runs/digits-zoo --property hp.lr hp.optimizer --kinds hp.lr=log
        weightatlas predict runs/digits-zoo --run runs/sne --grade --out grades.csv

    Args:
        zoo: Folder of the zoo; its train split is learned from, its test split is scored.
        run: Run or saved encoder whose embeddings are used; without it only statistics are.
        property: Columns to predict; those the run was trained on, else test_acc, by default.
        kinds: How properties are learned, as name=real, name=log or name=class; told from the columns by
            default.
        head: What predicts from embeddings of the run; takes no part if it was trained on properties.
        grade: Also report how often intervals hold the truth, how wide they are, and for what share of the
            test networks no prediction is given. What is familiar is written to the run if it was trained on
            properties, or to --save: `weightatlas inspect FILES --run RUN` then recognizes strangers.
        level: With --grade, wanted share of intervals that hold the truth.
        seed: Seed of boosted trees and committees.
        out: Also write true and predicted values of the test networks as .csv, with --grade the ends of their
            intervals too.
        save: Also write the predictor to this folder, with --grade what is familiar too.
        json: Print the measured numbers as JSON.
        dry_run: Only say what would be done.
    """
    if not 0 < level < 1:
        raise WrongUsage(f"--level: a share between 0 and 1, not {level:g}.")
    whole = open_part(zoo, "all")
    trained = None if run is None else _trained(run, whole, property)
    names = property or (("test_acc",) if trained is None else trained.properties_)
    scales = _scales(whole, names, pairs_of(kinds), trained)
    parts = [part for part in _parts(scales) if part]
    if save is not None and trained is None and len(parts) > 1:
        raise WrongUsage("--save: one predictor knows either classes or numbers; name such properties alone.")
    predictors = _predictors(run, whole, head, seed, trained)
    if dry_run:
        rows = [{"method": name, "properties": names, "networks": len(whole)} for name in predictors]
        console.print_rows(rows, as_json=json)
        return
    work = _Work(whole, level if grade else None, {"zoo": whole.name, "seeds": (seed,)})
    for name, (template, of_kind) in predictors.items():
        if template is trained:
            work.measure(name, template, of_kind, scales, new=False)
            continue
        for part in parts:
            work.measure(name, template.__sklearn_clone__(), of_kind, part, new=True)
    work.floors(scales)
    _finish(work, names, run if trained is not None and grade else None, out, save)
    console.print_records(work.records, title=f"Test networks of {whole.name}", as_json=json)


def _finish(
    work: "_Work", names: tuple[str, ...], run: Path | None, out: Path | None, save: Path | None
) -> None:
    """Write what is asked for; a run keeps what its predictor knows of strangers."""
    from weightatlas.errors import SpecError

    if not work.fitted:
        todo = "Pass --run of an encoder that accepts any layout, for example sne."
        raise SpecError(f"Nothing accepts the networks of {work.zoo.name}: {work.records[0].note}", todo=todo)
    predictor, grader = work.fitted[0]
    if save is not None:
        predictor.save(save)
    for folder in (save, run):
        if folder is not None and grader is not None:
            grader.save(folder)
    if out is not None:
        _write(out, work.zoo.split("test"), names, work.columns)


def _parts(scales: "Sequence[Scale]") -> "list[list[Scale]]":
    """Numbers and classes apart: heads in closed form predict either."""
    return [[s for s in scales if (s.kind == "class") == classes] for classes in (False, True)]


@dataclass
class _Work:
    """What was measured so far.

    Args:
        zoo: The whole zoo.
        level: Wanted coverage of intervals; none if nothing is graded.
        about: Fields that all records share.
        records: The measured numbers.
        columns: Predictions for the test networks by name.
        fitted: Predictors that accepted the networks, in order, with what they know of strangers.
    """

    zoo: "Zoo"
    level: float | None
    about: dict[str, Any]
    records: "list[Record]" = field(default_factory=list)
    columns: dict[str, Any] = field(default_factory=dict)
    fitted: "list[tuple[PropertyPredictor, Grader | None]]" = field(default_factory=list)

    def measure(
        self, method: str, predictor: "PropertyPredictor", kind: Kind, scales: "Sequence[Scale]", new: bool
    ) -> None:
        """Fit a predictor if it is new, and score it; one that refuses the networks gets a row of `-`."""
        from weightatlas.errors import SpecError
        from weightatlas.evaluate.properties import property_records
        from weightatlas.predict.kinds import labelled
        from weightatlas.results import refusal

        about = {"bench": "predict", "tier": "own", "method": method, "kind": kind, **self.about}
        test = self.zoo.split("test")
        try:
            if new:
                predictor.fit(self.zoo, tuple(scale.name for scale in scales), scales=scales)
            predicted = predictor.learned(test)
        except SpecError as error:
            self.records.append(refusal(" ".join(error.what.split()), **about))
            return
        labels = labelled(test, scales).labels
        for place, scale in enumerate(scales):
            own = predicted[:, place]
            self.records += property_records(own, labels[scale.name], scale, **about)
            numbers = scale.units(own).tolist()
            shown = [scale.answer(one) for one in numbers] if scale.kind == "class" else numbers
            self.columns[f"{scale.name}, {method}"] = shown
        self.fitted.append((predictor, self._graded(predictor, scales, about)))

    def floors(self, scales: "Sequence[Scale]") -> None:
        """Add the most frequent class beside predicted classes."""
        from weightatlas.evaluate.properties import constant_records
        from weightatlas.predict.kinds import labelled

        classes = [scale for scale in scales if scale.kind == "class"]
        parts = [labelled(self.zoo.split(part), classes).labels for part in ("train", "test") if classes]
        about = {"bench": "predict", "tier": "own", "method": "most frequent class", **self.about}
        for scale in classes:
            train, test = (labels[scale.name] for labels in parts)
            self.records += constant_records(train, test, scale, kind="baseline", **about)

    def _graded(
        self, predictor: "PropertyPredictor", scales: "Sequence[Scale]", about: dict[str, Any]
    ) -> "Grader | None":
        """Grade the test networks: records of coverage, width and abstentions; intervals as columns."""
        from weightatlas.results import Record

        if self.level is None or any(scale.kind == "class" for scale in scales):
            return None
        names = tuple(scale.name for scale in scales)
        test = self.zoo.split("test").batch(labels=names)
        grader = predictor.grader(self.zoo)
        grades = grader.grade(test, self.level)
        for place, name in enumerate(names):
            self.columns[f"{name}, {about['method']}, low"] = grades.low[:, place].tolist()
            self.columns[f"{name}, {about['method']}, high"] = grades.high[:, place].tolist()
        self.columns[f"{about['method']}, no grade"] = grades.abstained.tolist()
        for place, name in enumerate(names):
            report = grades.of(place).coverage(test.labels[name].double().cpu()[:, None])
            numbers = {metric: value for metric, value in report.items() if value == value}
            for metric, value in numbers.items():
                fields = {"metric": f"{name} {metric}", "value": value, "n": len(test)}
                self.records.append(Record.build({**about, **fields}))
        return grader


def _trained(run: Path, zoo: "Zoo", wanted: tuple[str, ...]) -> "PropertyPredictor | None":
    """Read the predictor of a run that was trained on properties; none for other runs."""
    from weightatlas.errors import ConfigError
    from weightatlas.predict import PropertyPredictor
    from weightatlas.predict.saved import is_finetuned

    if not is_finetuned(run):
        return None
    predictor = PropertyPredictor.load(run)
    if wanted and tuple(wanted) != predictor.properties_:
        raise ConfigError(
            f"{run} was trained on {', '.join(predictor.properties_)}, not on {', '.join(wanted)}.",
            todo="Leave --property out, or train a run on these properties.",
        )
    predictor.bind(zoo)
    return predictor


def _scales(
    zoo: "Zoo", names: tuple[str, ...], kinds: dict[str, str], trained: "PropertyPredictor | None"
) -> "tuple[Scale, ...]":
    """How each property is learned; a trained run has decided."""
    from weightatlas.errors import ConfigError
    from weightatlas.predict.kinds import scales_of

    if trained is None:
        return scales_of(zoo.split("train"), names, kinds, zoo.split("val"))
    for scale in trained.scales_:
        if kinds.get(scale.name, scale.kind) != scale.kind:
            raise ConfigError(
                f"The run was trained on '{scale.name}' as {scale.kind}.", todo="Leave --kinds out."
            )
    return trained.scales_


def _predictors(
    run: Path | None, zoo: "Zoo", head: Head, seed: int, trained: "PropertyPredictor | None"
) -> dict[str, tuple["PropertyPredictor", Kind]]:
    """Name the predictors that stand beside each other; without a graph there are no deep statistics.

    Layers of several layouts cannot be compared one by one, so statistics are pooled over them.
    """
    from weightatlas.errors import SpecError
    from weightatlas.predict import PropertyPredictor
    from weightatlas.weights.graph import parameter_graph

    found: dict[str, tuple[PropertyPredictor, Kind]] = {}
    if trained is not None:
        assert not isinstance(trained.encoder, str)
        found[trained.encoder.name] = (trained, "ours")
    elif run is not None:
        encoder = open_encoder(run, zoo)
        found[f"{encoder.name} + {head}"] = (PropertyPredictor(encoder, head, seed=seed), "ours")
    several = len({spec.layout_id for spec in zoo.specs}) > 1
    floors, deep = ("pooled", "pooled") if several else ("layer", "deep")
    for name in ("ridge", "boosting"):
        floor = PropertyPredictor(f"{floors}_statistics", name, seed=seed)
        found[f"{floors} statistics + {name}"] = (floor, "baseline")
    try:
        for spec in zoo.specs:
            parameter_graph(spec)
    except SpecError:
        return found
    best = PropertyPredictor(f"{deep}_statistics", "committee", seed=seed)
    return {**found, f"{deep} statistics + committee": (best, "ours")}


def _write(path: Path, test: "Zoo", properties: tuple[str, ...], columns: dict[str, Any]) -> None:
    """Write true and predicted values, a network a line; ids of imported networks may hold commas."""
    import csv
    import io

    from weightatlas.atomic import write_text

    table = {"id": test.column("id").tolist()}
    table |= {name: test.column(name).tolist() for name in properties} | columns
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    write_text(path, text.getvalue())
