"""weightatlas reconstruct."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from weightatlas.cli import console
from weightatlas.cli.inputs import Part, open_autoencoder, open_part, write_networks

if TYPE_CHECKING:
    from weightatlas.results import Record

_TABLE = ("excess agreement", "agreement", "agreement where wrong", "accuracy", "accuracy error", "L2")


def reconstruct(
    run: Annotated[Path, tyro.conf.Positional],
    zoo: Annotated[Path, tyro.conf.Positional],
    out: Path | None = None,
    part: Part = "test",
    steps: int = 0,
    json: bool = False,
    dry_run: bool = False,
) -> None:
    """Rebuild networks from their codes and compare what they do with what the originals do.

    Excess agreement is 0 for what training networks trivially reach (for each network the best of the best
    training network, the mean and the nearest one), and 1 for a perfect copy. It is left out for training
    networks, which are among these themselves.

    Example:
        weightatlas reconstruct runs/sane runs/digits-zoo --out rebuilt

    Args:
        run: Folder of the run, or of a saved encoder.
        zoo: Folder of the zoo.
        out: Also write the rebuilt networks (.safetensors) and results.json to this folder.
        part: Split to rebuild.
        steps: Also refine the codes, so many steps, against the originals' outputs on training images.
        json: Print the measured numbers as JSON.
        dry_run: Only say what would be done.
    """
    import torch

    from weightatlas.latent.refine import RefineConfig
    from weightatlas.results import append_records

    chosen = open_part(zoo, part)
    encoder = open_autoencoder(run, chosen)
    weights = chosen.weights()
    encoder.require(weights.spec)
    config = RefineConfig.build({"steps": steps})
    if dry_run:
        ratio = weights.spec.params / encoder.code_numbers(weights.spec)
        console.print_facts({"networks": len(chosen), "parameters per code number": ratio}, as_json=json)
        return
    if steps:
        rebuilt = _refined(encoder, chosen, config)
    else:
        with torch.no_grad():
            rebuilt = encoder.reconstruct(weights)
    strangers = part in ("val", "test")
    if not strangers:
        console.say("Training networks are their own nearest ones: excess agreement is left out.")
    name = f"{encoder.name}, refined" if steps else encoder.name
    records = _judge(open_part(zoo, "train") if strangers else None, chosen, rebuilt, name)
    if out is not None:
        write_networks(out, rebuilt, chosen, chosen.column("id").tolist())
        append_records(out / "results.json", records)
    console.print_records(records, title=f"{len(chosen)} networks of {zoo}", metrics=_TABLE, as_json=json)


def _refined(encoder: Any, chosen: Any, config: Any) -> Any:
    """Refine the codes of networks on the training images of their task."""
    from weightatlas.latent.charts import chart_of
    from weightatlas.latent.refine import refine
    from weightatlas.tasks import QueryPool

    weights, population = chosen.weights(), chosen.population()
    queries = QueryPool(chosen.task()).inputs
    targets = population.outputs_no_grad(weights.values, queries)
    chart = chart_of(encoder, weights)
    return refine(chart, population, targets, queries, config).weights


def _judge(train: Any, chosen: Any, rebuilt: Any, name: str) -> "list[Record]":
    """Score rebuilt networks on the task's test images, beside what training networks trivially reach."""
    import torch

    from weightatlas.evaluate.exam import exam_of
    from weightatlas.evaluate.reconstruction import compare
    from weightatlas.evaluate.reference import reference_of
    from weightatlas.results import stamped

    spec, originals = chosen.spec, chosen.weights().values
    exam = exam_of(chosen.population(), *chosen.task().split("test"))
    context = {"bench": "rebuild", "tier": "own", "zoo": chosen.name}
    if train is None:
        return stamped(compare(exam, originals, rebuilt).records(name, **context))
    scores = torch.from_numpy(train.column("val_acc").astype("float32"))
    reference = reference_of(exam, train.weights().values, scores, originals, spec)
    ours = compare(exam, originals, rebuilt, reference).records(name, **context)
    return stamped([*ours, *reference.records(**context)])
