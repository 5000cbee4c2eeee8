"""weightatlas predict."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from weightatlas.cli import console
from weightatlas.cli.inputs import open_encoder, open_part

if TYPE_CHECKING:
    from weightatlas.results import Record

Head = Literal["ridge", "boosting"]


def predict(
    zoo: Annotated[Path, tyro.conf.Positional],
    run: Path | None = None,
    property: tuple[str, ...] = ("test_acc",),
    head: Head = "ridge",
    seed: int = 0,
    out: Path | None = None,
    save: Path | None = None,
    json: bool = False,
    dry_run: bool = False,
) -> None:
    """Predict properties of held-out networks from their weights, beside layer statistics.

    Example:
        weightatlas predict runs/digits-zoo --run runs/sane --property test_acc generalization_gap

    Args:
        zoo: Folder of the zoo; its train split is learned from, its test split is scored.
        run: Run or saved encoder whose embeddings are used; without it only layer statistics are.
        property: Columns to predict.
        head: What predicts from embeddings.
        seed: Seed of boosted trees.
        out: Also write true and predicted values of the test networks as .csv.
        save: Also write the predictor to this folder.
        json: Print the measured numbers as JSON.
        dry_run: Only say what would be done.
    """
    from weightatlas.predict import PropertyPredictor

    whole = open_part(zoo, "all")
    floor: Any = "layer_statistics"
    predictors: dict[str, tuple[Any, Literal["ours", "baseline"]]] = {}
    if run is not None:
        encoder = open_encoder(run, whole)
        predictors[f"{encoder.name} + {head}"] = (PropertyPredictor(encoder, head, seed=seed), "ours")
    for name in ("ridge", "boosting"):
        label = f"layer statistics + {name}"
        predictors[label] = (PropertyPredictor(floor, name, seed=seed), "baseline")
    if dry_run:
        rows = [{"method": name, "properties": property, "networks": len(whole)} for name in predictors]
        console.print_rows(rows, as_json=json)
        return
    records: list[Record] = []
    columns: dict[str, Any] = {}
    for name, (predictor, kind) in predictors.items():
        predictor.fit(whole, property)
        found, predicted = _score(predictor, whole, property)
        context = {"bench": "predict", "tier": "own", "zoo": whole.name, "seeds": (seed,)}
        for place, label in enumerate(property):
            records += found[place].records(name, label, kind, **context)
            columns[f"{label}, {name}"] = predicted[:, place].tolist()
    if save is not None:
        next(iter(predictors.values()))[0].save(save)
    if out is not None:
        _write(out, whole.split("test"), property, columns)
    console.print_records(records, title=f"Test networks of {whole.name}", as_json=json)


def _score(predictor: Any, zoo: Any, properties: tuple[str, ...]) -> tuple[list[Any], Any]:
    """Rank the test networks by each property; returns scores and predictions."""
    from weightatlas.evaluate.ranking import rank

    test = zoo.split("test")
    predicted = predictor.predict(test)
    labels = test.batch(labels=properties).labels
    scores = [rank(predicted[:, place], labels[name], name) for place, name in enumerate(properties)]
    return scores, predicted


def _write(path: Path, test: Any, properties: tuple[str, ...], columns: dict[str, Any]) -> None:
    """Write true and predicted values, a network a line."""
    from weightatlas.atomic import write_text

    table = {"id": test.column("id").tolist()}
    table |= {name: test.column(name).tolist() for name in properties} | columns
    lines = [",".join(f'"{name}"' for name in table)]
    lines += [",".join(map(str, row)) for row in zip(*table.values(), strict=True)]
    write_text(path, "\n".join(lines) + "\n")
