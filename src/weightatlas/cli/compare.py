"""weightatlas compare."""

from typing import TYPE_CHECKING, Annotated, Any

import tyro

from weightatlas.cli import console
from weightatlas.cli.arguments import settings

if TYPE_CHECKING:
    from weightatlas.relate.compare import Relation


def compare(
    first: Annotated[str, tyro.conf.Positional],
    second: Annotated[str, tyro.conf.Positional],
    network: str | None = None,
    set: tuple[str, ...] = (),
    json: bool = False,
) -> None:
    """Tell how two networks are related, from their weights alone, and how sure that is.

    Verdicts: identical, independent, undecided, or what was done on the way from one to the other:
    permuted, rescaled, fine-tuned, merged, head replaced, pruned, quantized.

    Example:
        weightatlas compare base.safetensors suspect.safetensors
        weightatlas compare runs/digits-zoo:0 runs/digits-zoo:5

    Args:
        first: Checkpoint file, or a row of a zoo as ZOO:ID or ZOO:ROW.
        second: The other one.
        network: Architecture of the files, if it is a known one; lets batch norms and scales be undone.
        set: Options of the network, as key=value.
        json: Print as JSON.
    """
    from weightatlas.relate.compare import compare as judge
    from weightatlas.relate.sources import open_network

    one, other = (open_network(source, network, **settings(set)) for source in (first, second))
    found = judge(one.vector, other.vector, one.spec, other.spec)
    if json:
        console.print_json({"first": first, "second": second, **found.to_dict(), **_merging(found)})
        return
    arrow = {"first to second": f"{first} → {second}", "second to first": f"{second} → {first}"}
    facts: dict[str, Any] = {
        "verdict": found.verdict,
        "direction": arrow.get(found.direction or "", "cannot be told"),
        "because": found.why,
        "p-value": f"{found.p_value:.1e}",
        "likeness of matched units": found.score,
        **_merging(found),
    }
    if not found.related:
        del facts["direction"]
    console.print_facts({key: value for key, value in facts.items() if value != ""})


def _merging(found: "Relation") -> dict[str, float]:
    """What merging would probably cost."""
    from weightatlas.relate.behavior import can_merge

    if found.state == "undecided" and found.score == 0:
        return {}
    return {"predicted drop of accuracy when averaged": round(can_merge(found.score), 3)}
