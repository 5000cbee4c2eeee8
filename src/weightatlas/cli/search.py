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

    Only networks of its layout are compared. Related means a p-value of at most 1e-4 after multiplication
    with the number of networks it was tested against (Bonferroni).

    Example:
        weightatlas search runs/digits-zoo --like suspect.safetensors

    Args:
        zoo: Folder of the zoo.
        like: Checkpoint file, FILE:NAME if it holds several networks, or a row of a zoo (ZOO:ID or ZOO:ROW).
        run: Folder of a fitted encoder, to rank strangers by embedding.
        top: How many to print.
        part: Split to search.
        json: Print as JSON.
    """
    from weightatlas.errors import SpecError
    from weightatlas.relate.compare import RELATED
    from weightatlas.relate.search import search_stacks as find
    from weightatlas.relate.sources import open_network, stacks_of

    if top < 1:
        raise WrongUsage(f"--top: at least one network is asked for, not {top}.")
    chosen = open_part(zoo, part)
    goal = open_network(like)
    stacks = [stack for stack in stacks_of(chosen) if stack.spec.layout_id == goal.spec.layout_id]
    if not stacks:
        raise SpecError(
            f"{like} is laid out as {goal.spec!r}; none of the {len(chosen)} networks of {zoo} is.",
            todo=f"What the zoo holds: weightatlas zoo info {zoo}",
        )
    encoder = open_encoder(run, chosen) if run is not None else None
    names = [name for stack in stacks for name in stack.names]
    found = find(goal.vector, [(stack.values, stack.spec) for stack in stacks], top, encoder)
    rows = [
        {
            "network": names[near.row],
            "likeness": near.score,
            "p-value": near.p_value,
            "related": near.p_value <= RELATED,
            **({"distance": near.distance} if encoder is not None else {}),
        }
        for near in found
    ]
    console.print_rows(rows, title=f"Networks of {zoo} like {like}", as_json=json)
