"""The quickstart's story as a report."""

import torch

from weightatlas.evaluate.protocols.quickstart import SHOWN, Story
from weightatlas.report.data import Curves, Generated, Headline, LatentMap, ReportData, Scatter
from weightatlas.results import Record, hardware, versions
from weightatlas.tracking import read_metrics

_NAMES = {"test_acc": "test accuracy", "generalization_gap": "generalization gap"}
_DRAWN = ("sparse activation, refined", "activation, refined", "sane, refined", "sane", "pca, refined")


def report_of(story: Story, command: str = "") -> ReportData:
    """Collect what the quickstart found into the parts of a page.

    Args:
        story: From `run_quickstart`.
        command: How to get the run again.
    """
    stage, trial = story.stage, story.trial
    results = {part.method: part.result for part in story.rebuilt}
    accuracies = {"original": next(iter(results.values())).original}
    accuracies |= {f"rebuilt: {name}": results[name].accuracy for name in _DRAWN[:3] if name in results}
    made = {part.method: part.accuracy for part in story.generated}
    accuracies[f"generated: {SHOWN['generate']}"] = made[SHOWN["generate"]]
    return ReportData(
        title="Quickstart",
        summary=(
            f"{len(stage.zoo):,} checkpoints of small digit classifiers were trained; their weights were "
            f"learned, and {len(trial.originals)} networks whose initializations were never seen were "
            "graded, and rebuilt from codes of about half as many numbers."
        ),
        facts={
            "networks": f"{len(stage.zoo):,} checkpoints",
            "parameters each": f"{stage.spec.params:,}",
            "split": "by lineage",
            "a0": f"{trial.reference.a0:.3f}",
        },
        headlines=_headlines(story),
        records=tuple(story.records),
        accuracies=accuracies,  # pyright: ignore[reportArgumentType]
        predictions=tuple(
            Scatter(label=_NAMES[name], method=method, true=true, predicted=predicted, kind=kind)  # pyright: ignore[reportArgumentType]
            for method, kind, name, predicted, true in story.predictions
            if method in ("activation + ridge", "layer statistics + boosting")
        ),
        latent=LatentMap(embeddings=story.embeddings, values=stage.test.labels["test_acc"]),  # pyright: ignore[reportArgumentType]
        curves=_curves(story),
        agreement={name: results[name].agreement for name in _DRAWN if name in results},  # pyright: ignore[reportArgumentType]
        a0=trial.reference.a0,
        generated=tuple(
            Generated(
                method=part.method,
                accuracy=part.accuracy,  # pyright: ignore[reportArgumentType]
                distance=part.diversity.nearest / part.diversity.unit,  # pyright: ignore[reportArgumentType]
                kind=part.kind,
            )
            for part in story.generated
        ),
        config={name: encoder.config.model_dump(mode="json") for name, encoder in story.encoders.items()},
        versions=versions(),
        hardware=hardware(),
        command=command,
        seconds=sum(story.seconds.values()),
    )


def _headlines(story: Story) -> tuple[Headline, ...]:
    """Show one method a chapter, named beforehand, beside the baseline that did best on the test networks."""
    parts = [
        ("rebuild", "excess agreement", "rebuilt networks", "0: as close as training networks; 1: the same"),
        ("predict", "test_acc R2", "accuracy from weights", "explained variance on strangers"),
        ("generate", "median accuracy", "generated networks", "median test accuracy; no labels were used"),
    ]
    found = []
    for bench, metric, label, note in parts:
        rows = [r for r in story.records if r.bench == f"quickstart: {bench}" and r.metric == metric]
        ours, floor = next((r for r in rows if r.method == SHOWN[bench]), None), _floor(rows)
        if ours and floor:
            found.append(
                Headline(
                    label=f"{label}: {ours.method}",
                    value=ours.value,
                    baseline=floor.method,
                    baseline_value=floor.value,
                    note=f"{metric}; {note}",
                )
            )
    return tuple(found)


def _floor(rows: list[Record]) -> Record | None:
    """Return the highest baseline; anchors are training networks, not a way to make new ones."""
    chosen = [row for row in rows if row.kind == "baseline" and row.method != "anchors"]
    return max(chosen, key=lambda row: row.value, default=None)


def _curves(story: Story) -> tuple[Curves, ...]:
    """Draw the losses of SANE's training."""
    path = story.stage.cache / "sane" / "metrics.jsonl"
    rows = [row for row in read_metrics(path) if "step" in row] if path.exists() else []
    names = sorted(
        {name for row in rows for name in row if name.startswith(("loss", "behavioral", "struct"))}
    )
    if not rows or not names:
        return ()
    lines = {name: [row.get(name, float("nan")) for row in rows] for name in names}
    steps = torch.tensor([float(row["step"]) for row in rows])
    return (Curves(title="Training of SANE", x=steps, lines=lines, log=True),)  # pyright: ignore[reportArgumentType]
