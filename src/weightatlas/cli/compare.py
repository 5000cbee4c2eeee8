"""weightatlas compare."""

from typing import Annotated, Any

import tyro

from weightatlas.cli import console
from weightatlas.cli.arguments import WrongUsage, settings


def compare(
    first: Annotated[str, tyro.conf.Positional],
    second: Annotated[str, tyro.conf.Positional],
    network: str | None = None,
    set: tuple[str, ...] = (),
    task: str | None = None,
    json: bool = False,
) -> None:
    """Tell how two networks are related, from their weights alone, and how sure that is.

    Verdicts: identical, independent, undecided, or what was done on the way from one to the other:
    permuted, rescaled, fine-tuned, merged, head replaced (or other layout, where more than the last layers
    differ), pruned, quantized. The p-value is how likely two networks trained independently are this alike;
    related means at most 1e-4, independent at least 1e-2.
    Where it is not certain which units may be renumbered (recurrent layers, files of unknown code), tensors
    are compared in the order they are stored in; what shows no kinship is then undecided, not independent.

    Can they be merged? The drop is the accuracy that the average of both loses, after matching, against the
    mean of both. It is predicted from the weights (fitted on small networks: a rank, not a promise), and
    measured where the networks can be run: rows of a zoo, or files with --network and --task.

    Example:
        weightatlas compare base.safetensors suspect.safetensors
        weightatlas compare runs/digits-zoo:0 runs/digits-zoo:5
        weightatlas compare a.pt b.pt --network digits_cnn --task digits

    Args:
        first: Checkpoint file, FILE:NAME if it holds several networks, or a row of a zoo (ZOO:ID or ZOO:ROW).
        second: The other one.
        network: Architecture of the files, if it is a known one; lets batch norms and scales be undone.
        set: Options of the network, as key=value.
        task: Name of the task to measure the average on; that of the zoo by default.
        json: Print as JSON.
    """
    from weightatlas.relate.compare import compare as judge
    from weightatlas.relate.merging import merging
    from weightatlas.relate.sources import open_network

    if task is not None and network is None and not (":" in first and ":" in second):
        raise WrongUsage("--task: to run files, name their architecture too: --network NAME.")
    if set and network is None:
        raise WrongUsage("--set: options of an architecture, but none is named: --network NAME.")
    one, other = (open_network(source, network, **settings(set)) for source in (first, second))
    found = judge(one.vector, other.vector, one.spec, other.spec)
    merge = merging(found, one, other, task)
    if json:
        console.print_json({"first": first, "second": second, **found.to_dict(), "merging": merge})
        return
    arrow = {"first to second": f"{first} → {second}", "second to first": f"{second} → {first}"}
    facts: dict[str, Any] = {
        "verdict": found.verdict,
        "direction": arrow.get(found.direction or "", "cannot be told"),
        "because": found.why,
        "layouts differ in": found.facts.get("layouts differ in", ""),
        "p-value": f"{found.p_value:.1e}",
        f"likeness of {found.compared}": "" if found.compared == "nothing" else found.score,
        **{f"merging, {key}": _shown(value) for key, value in merge.items()},
    }
    if not found.related:
        del facts["direction"]
    console.print_facts({key: value for key, value in facts.items() if value != ""})


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    return value
