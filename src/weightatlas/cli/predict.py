"""weightatlas predict."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from weightatlas.cli import console
from weightatlas.cli.arguments import WrongUsage
from weightatlas.cli.inputs import open_encoder, open_part

if TYPE_CHECKING:
    from weightatlas.predict import PropertyPredictor
    from weightatlas.results import Record

Head = Literal["ridge", "boosting", "committee"]


def predict(
    zoo: Annotated[Path, tyro.conf.Positional],
    run: Path | None = None,
    property: tuple[str, ...] = (),
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
    training networks get no prediction, and all others an interval.

    Example:
        weightatlas predict runs/digits-zoo --run runs/sane --property test_acc generalization_gap
        weightatlas predict runs/digits-zoo --run runs/sne --grade --out grades.csv

    Args:
        zoo: Folder of the zoo; its train split is learned from, its test split is scored.
        run: Run or saved encoder whose embeddings are used; without it only statistics are.
        property: Columns to predict; those the run was trained on, else test_acc, by default.
        head: What predicts from embeddings of the run; takes no part if it was trained on properties.
        grade: Also report how often intervals hold the truth, how wide they are, and for what share of the
            test networks no prediction is given.
        level: With --grade, wanted share of intervals that hold the truth.
        seed: Seed of boosted trees and committees.
        out: Also write true and predicted values of the test networks as .csv, with --grade the ends of their
            intervals too.
        save: Also write the predictor to this folder, with --grade the grader too.
        json: Print the measured numbers as JSON.
        dry_run: Only say what would be done.
    """
    if not 0 < level < 1:
        raise WrongUsage(f"--level: a share between 0 and 1, not {level:g}.")
    whole = open_part(zoo, "all")
    trained = None if run is None else _trained(run, whole, property)
    names = property or (("test_acc",) if trained is None else trained.properties_)
    predictors = _predictors(run, whole, head, seed, trained)
    if dry_run:
        rows = [{"method": name, "properties": names, "networks": len(whole)} for name in predictors]
        console.print_rows(rows, as_json=json)
        return
    records: list[Record] = []
    columns: dict[str, Any] = {}
    for name, (predictor, kind) in predictors.items():
        if predictor is not trained:
            predictor.fit(whole, names)
        found, predicted = _score(predictor, whole, names)
        context = {"bench": "predict", "tier": "own", "zoo": whole.name, "seeds": (seed,)}
        for place, label in enumerate(names):
            records += found[place].records(name, label, kind, **context)
            columns[f"{label}, {name}"] = predicted[:, place].tolist()
        if grade:
            about = {"method": name, "kind": kind, **context}
            records += _graded(predictor, whole, names, level, about, columns)
    if save is not None:
        first = next(iter(predictors.values()))[0]
        first.save(save)
        if grade:
            first.grader(whole).save(save)
    if out is not None:
        _write(out, whole.split("test"), names, columns)
    console.print_records(records, title=f"Test networks of {whole.name}", as_json=json)


def _trained(run: Path, zoo: Any, wanted: tuple[str, ...]) -> "PropertyPredictor | None":
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


def _predictors(
    run: Path | None, zoo: Any, head: Head, seed: int, trained: "PropertyPredictor | None"
) -> dict[str, tuple["PropertyPredictor", Literal["ours", "baseline"]]]:
    """Name the predictors that stand beside each other; without a graph there are no deep statistics."""
    from weightatlas.errors import SpecError
    from weightatlas.predict import PropertyPredictor
    from weightatlas.weights.graph import parameter_graph

    found: dict[str, tuple[PropertyPredictor, Literal["ours", "baseline"]]] = {}
    if trained is not None:
        assert not isinstance(trained.encoder, str)
        found[trained.encoder.name] = (trained, "ours")
    elif run is not None:
        encoder = open_encoder(run, zoo)
        found[f"{encoder.name} + {head}"] = (PropertyPredictor(encoder, head, seed=seed), "ours")
    for name in ("ridge", "boosting"):
        floor = PropertyPredictor("layer_statistics", name, seed=seed)
        found[f"layer statistics + {name}"] = (floor, "baseline")
    try:
        for spec in zoo.specs:
            parameter_graph(spec)
    except SpecError:
        return found
    deep = PropertyPredictor("deep_statistics", "committee", seed=seed)
    return {**found, "deep statistics + committee": (deep, "ours")}


def _graded(
    predictor: Any,
    zoo: Any,
    names: tuple[str, ...],
    level: float,
    about: dict[str, Any],
    columns: dict[str, Any],
) -> list["Record"]:
    """Grade the test networks: records of coverage, width and abstentions; intervals as columns."""
    from weightatlas.results import Record

    test = zoo.split("test").batch(labels=names)
    grades = predictor.grader(zoo).grade(test, level)
    for place, name in enumerate(names):
        columns[f"{name}, {about['method']}, low"] = grades.low[:, place].tolist()
        columns[f"{name}, {about['method']}, high"] = grades.high[:, place].tolist()
    columns[f"{about['method']}, no grade"] = grades.abstained.tolist()
    true = test.labels
    found = []
    for place, name in enumerate(names):
        report = grades.of(place).coverage(true[name].double().cpu()[:, None])
        numbers = {metric: value for metric, value in report.items() if value == value}
        for metric, value in numbers.items():
            fields = {"metric": f"{name} {metric}", "value": value, "n": len(test)}
            found.append(Record.build({**about, **fields}))
    return found


def _score(predictor: Any, zoo: Any, properties: tuple[str, ...]) -> tuple[list[Any], Any]:
    """Rank the test networks by each property; returns scores and predictions."""
    from weightatlas.evaluate.ranking import rank

    test = zoo.split("test")
    predicted = predictor.predict(test)
    labels = test.batch(labels=properties).labels
    scores = [rank(predicted[:, place], labels[name], name) for place, name in enumerate(properties)]
    return scores, predicted


def _write(path: Path, test: Any, properties: tuple[str, ...], columns: dict[str, Any]) -> None:
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
