"""weightatlas zoo tree | dedupe."""

from pathlib import Path
from typing import Annotated

import tyro

from weightatlas.cli import console
from weightatlas.cli.arguments import WrongUsage, settings
from weightatlas.cli.inputs import Part, open_part


def tree(
    zoo: Annotated[Path, tyro.conf.Positional],
    out: Path | None = None,
    part: Part = "all",
    where: tuple[str, ...] = (),
    json: bool = False,
) -> None:
    """Find out which networks were made from which, and draw their family tree.

    Networks of different layouts are not compared here; `weightatlas compare` knows heads that were replaced.

    Example:
        weightatlas zoo tree runs/my-zoo --out tree.html

    Args:
        zoo: Folder of the zoo.
        out: Picture to write: .svg or .html.
        part: Split to look at.
        where: Conditions on columns, as name=value.
        json: Print the edges as JSON.
    """
    from weightatlas.atomic import write_text
    from weightatlas.relate.drawing import html_of, svg_of, text_of
    from weightatlas.relate.sources import stacks_of
    from weightatlas.relate.tree import family_forest

    if out is not None and out.suffix not in (".svg", ".html"):
        raise WrongUsage(f"--out: a picture is .svg or .html, not '{out.suffix}'.")
    chosen = open_part(zoo, part).filter(**settings(where))
    stacks = stacks_of(chosen)
    names = [name for stack in stacks for name in stack.names]
    found = family_forest([(stack.values, stack.spec) for stack in stacks])
    if out is not None:
        draw = html_of if out.suffix == ".html" else svg_of
        write_text(out, draw(found, names, f"Family tree of {chosen.name}"))
    if json:
        edges = [
            {
                "parent": names[edge.parent],
                "child": names[edge.child],
                "other parent": None if edge.second is None else names[edge.second],
                "changes": list(edge.changes),
                "p_value": edge.p_value,
            }
            for edge in found.edges
        ]
        console.print_json({"roots": [names[row] for row in found.roots], "edges": edges})
    else:
        print(text_of(found, names))


def dedupe(zoo: Annotated[Path, tyro.conf.Positional], part: Part = "all", json: bool = False) -> None:
    """List networks that are equal, equal up to the order of units, or nearly so; nothing is deleted.

    Example:
        weightatlas zoo dedupe runs/my-zoo

    Args:
        zoo: Folder of the zoo.
        part: Split to look at.
        json: Print as JSON.
    """
    from weightatlas.relate.search import duplicates
    from weightatlas.zoo import Zoo

    chosen: Zoo = open_part(zoo, part)
    rows = []
    for spec in chosen.specs:
        found = chosen.weights(spec)
        ids = chosen.column("id")[found.rows.numpy()].tolist()
        for group in duplicates(found.values, spec):
            names = [ids[row] for row in group.rows]
            rows.append({"kind": group.kind, "networks": names, "bytes saved": group.bytes_saved})
    if json:
        console.print_json({"groups": rows, "bytes saved": sum(row["bytes saved"] for row in rows)})
        return
    console.print_rows(rows, title=f"Duplicates in {zoo}")
    console.say(
        f"{len(rows)} groups; leaving out copies saves {sum(r['bytes saved'] for r in rows):,} bytes."
    )
