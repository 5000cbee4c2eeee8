"""weightatlas search."""

from pathlib import Path
from typing import Annotated

import tyro

from weightatlas.cli import console
from weightatlas.cli.arguments import WrongUsage
from weightatlas.cli.inputs import Part, open_encoder, open_part


def search(
    zoo: Annotated[Path, tyro.conf.Positional],
    like: str,
    run: Path | None = None,
    top: int = 10,
    part: Part = "all",
    json: bool = False,
) -> None:
    """Find the networks of a zoo nearest to a given one: relatives first, then by likeness or embedding.

    Example:
        weightatlas search runs/digits-zoo --like suspect.safetensors

    Args:
        zoo: Folder of the zoo.
        like: Checkpoint file, or a row of a zoo as ZOO:ID or ZOO:ROW.
        run: Folder of a fitted encoder, to rank strangers by embedding.
        top: How many to print.
        part: Split to search.
        json: Print as JSON.
    """
    from weightatlas.errors import SpecError
    from weightatlas.relate.search import search as find
    from weightatlas.relate.sources import open_network, stacked

    if top < 1:
        raise WrongUsage(f"--top: at least one network is asked for, not {top}.")
    chosen = open_part(zoo, part)
    values, spec, names = stacked(chosen)
    goal = open_network(like)
    if goal.spec.layout_id != spec.layout_id:
        raise SpecError(f"{like} is laid out as {goal.spec!r}, the networks of {zoo} as {spec!r}.")
    encoder = open_encoder(run, chosen) if run is not None else None
    rows = [
        {
            "network": names[found.row],
            "likeness": found.score,
            "p-value": found.p_value,
            "related": found.p_value <= 1e-4,
            **({"distance": found.distance} if encoder is not None else {}),
        }
        for found in find(goal.vector, values, spec, top, encoder)
    ]
    console.print_rows(rows, title=f"Networks of {zoo} like {like}", as_json=json)
