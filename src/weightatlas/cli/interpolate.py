"""weightatlas interpolate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from weightatlas.cli import console
from weightatlas.cli.arguments import WrongUsage
from weightatlas.cli.inputs import open_autoencoder, open_part, write_networks

if TYPE_CHECKING:
    from weightatlas.weights.batch import Weights
    from weightatlas.zoo import Zoo


def interpolate(
    run: Annotated[Path, tyro.conf.Positional],
    zoo: Annotated[Path, tyro.conf.Positional],
    start: Annotated[str, tyro.conf.Positional],
    end: Annotated[str, tyro.conf.Positional],
    out: Path | None = None,
    points: int = 11,
    path: Literal["line", "slerp"] = "line",
    json: bool = False,
) -> None:
    """Walk from one network to another through codes, beside the straight lines between their weights.

    Example:
        weightatlas interpolate runs/sane runs/digits-zoo 60c59df2e1e48b43-0002 e96180760d42584b-0002

    Args:
        run: Folder of the run, or of a saved encoder.
        zoo: The zoo that holds both networks.
        start: Id of the network the path begins at (see networks.csv of zoo export).
        end: Id of the network it ends at.
        out: Also write the networks on the path to this folder.
        points: Networks on the path, both ends included.
        path: Shape of the path between the codes.
        json: Print as JSON.
    """
    import torch

    from weightatlas.evaluate.exam import exam_of
    from weightatlas.latent.interpolate import between_codes, between_weights

    if points < 2:
        raise WrongUsage(f"--points: a path has two ends, so at least 2 networks, not {points}.")
    whole = open_part(zoo, "all")
    encoder = open_autoencoder(run, whole)
    first, last = _network(whole, start), _network(whole, end)
    encoder.require(first.spec)
    places = torch.linspace(0, 1, points)
    through = between_codes(encoder, first, last, places, path)[0]
    lines = {
        f"codes, {path}": through,
        "weights": between_weights(first.values, last.values, places)[0],
        "weights, aligned": between_weights(first.values, last.values, places, first.spec)[0],
    }
    exam = exam_of(whole.population(), *whole.task().split("test"))
    scores = {name: exam.accuracy(exam.classes(networks)).tolist() for name, networks in lines.items()}
    rows: list[dict[str, Any]] = [
        {"place": round(float(place), 4), **{name: values[index] for name, values in scores.items()}}
        for index, place in enumerate(places)
    ]
    if out is not None:
        write_networks(out, through, whole, [f"point_{index:04d}" for index in range(points)])
    console.print_rows(rows, title="Test accuracy on the way", as_json=json)


def _network(zoo: "Zoo", name: str) -> "Weights":
    """Find one network by its id.

    Raises:
        ZooError: There is none.
    """
    from difflib import get_close_matches

    from weightatlas.errors import ZooError

    names = zoo.column("id").tolist()
    if name not in names:
        near = get_close_matches(name, names, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"The first one is '{names[0]}'."
        raise ZooError(f"The zoo {zoo.path} has no network '{name}'.", todo=hint)
    return zoo[names.index(name)].weights()
