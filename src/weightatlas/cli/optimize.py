"""weightatlas optimize."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from weightatlas.cli import console
from weightatlas.cli.inputs import Part, open_autoencoder, open_part, write_networks

if TYPE_CHECKING:
    from weightatlas.results import Record

_TABLE = ("accuracy", "initial accuracy", "validation accuracy", "numbers moved")


def optimize(
    run: Annotated[Path, tyro.conf.Positional],
    zoo: Annotated[Path, tyro.conf.Positional],
    out: Path | None = None,
    part: Part = "test",
    steps: int = 100,
    lr: float | None = None,
    teacher: Literal["best", "none"] = "best",
    seed: int = 0,
    json: bool = False,
    dry_run: bool = False,
) -> None:
    """Train networks by moving their codes through a frozen decoder.

    Beside it stand two baselines with as many steps, which start at the networks themselves: moving all
    weights, and moving as many numbers in a random subspace. The best step is chosen on validation images;
    accuracies are those on test images.

    Example:
        weightatlas optimize runs/netspace runs/digits-zoo --steps 100 --out optimized

    Args:
        run: Folder of the run, or of a saved autoencoder.
        zoo: Folder of the zoo whose networks are the starts.
        out: Also write the optimized networks (.safetensors) and results.json to this folder.
        part: Split whose networks are the starts.
        steps: Gradient steps.
        lr: Learning rate of the codes; baselines have rates of their own.
        teacher: Also imitate the best training network, or learn from the labels alone.
        seed: Seed of the order of images and of the subspace.
        json: Print the measured numbers as JSON.
        dry_run: Only say what would be done.
    """
    chosen = open_part(zoo, part)
    encoder = open_autoencoder(run, chosen)
    encoder.require(chosen.weights().spec)
    if dry_run:
        facts = {"networks": len(chosen), "numbers moved": encoder.code_numbers(chosen.spec), "steps": steps}
        console.print_facts(facts, title="optimize", as_json=json)
        return
    lessons = _lessons(open_part(zoo, "train"), teacher)
    found, records = _all(encoder, chosen, lessons, steps, lr, seed)
    if out is not None:
        from weightatlas.results import append_records

        write_networks(out, found.weights, chosen, chosen.column("id").tolist())
        append_records(out / "results.json", records)
    console.print_records(records, title=f"{len(chosen)} networks of {zoo}", metrics=_TABLE, as_json=json)


def _lessons(train: Any, teacher: str) -> Any:
    """Training and validation images, and what the best training network says to the former."""
    import torch

    from weightatlas.latent.optimize import Lessons
    from weightatlas.latent.sample import choose_anchors

    task, outputs = train.task(), None
    inputs, answers = task.split("train")
    if teacher == "best":
        scores = torch.from_numpy(train.column("val_acc").astype("float32"))
        best = int(choose_anchors(scores, share=1.0)[0])  # networks without a score are passed over
        values = train.weights().values[best : best + 1]
        outputs = train.population().outputs_no_grad(values, inputs)[0]
    return Lessons(inputs, answers, outputs, *task.split("val"))


def _all(
    encoder: Any, chosen: Any, lessons: Any, steps: int, lr: float | None, seed: int
) -> "tuple[Any, list[Record]]":
    """Optimize codes, weights and a random subspace; also return the records of all three."""
    from weightatlas.evaluate.exam import exam_of
    from weightatlas.latent.charts import chart_of, free_chart, offset_chart
    from weightatlas.latent.optimize import OptimizeConfig
    from weightatlas.latent.optimize import optimize as move
    from weightatlas.results import Record, stamped

    weights, population = chosen.weights(), chosen.population()
    exam = exam_of(population, *chosen.task().split("test"))
    size = min(encoder.code_numbers(weights.spec), weights.spec.params)
    charts = {
        encoder.name: chart_of(encoder, weights),
        "all weights": free_chart(weights.values),
        "random subspace, same size": offset_chart(weights.values, size, seed),
    }
    results, records = {}, []
    for name, chart in charts.items():
        rate = lr if name == encoder.name else None
        config = OptimizeConfig.build({"steps": steps, "lr": rate, "seed": seed})
        found = results[name] = move(chart, population, lessons, config)
        numbers = {
            "accuracy": exam.accuracy(exam.classes(found.weights)).mean(),
            "initial accuracy": exam.accuracy(exam.classes(chart.decode(chart.start).detach())).mean(),
            "validation accuracy": found.curve.amax(0).mean(),
            "numbers moved": chart.numbers,
        }
        about = {"bench": "optimize", "tier": "own", "zoo": chosen.name, "method": name, "n": len(chosen)}
        about |= {"kind": "ours" if name == encoder.name else "baseline", "seeds": (seed,)}
        records += [Record.build({**about, "metric": k, "value": float(v)}) for k, v in numbers.items()]
    return results[encoder.name], stamped(records)
