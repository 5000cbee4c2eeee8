"""Can two networks be averaged? Measured where they can be run, predicted from their weights elsewhere."""

from typing import Any

from weightatlas.errors import DataError, NoCode, SpecError, ZooError
from weightatlas.relate.behavior import can_merge, midpoint_accuracies
from weightatlas.relate.compare import Relation
from weightatlas.relate.sources import Known

_HOW = "For files, name --network and --task; for rows of a zoo its own are used."


def merging(found: Relation, first: Known, second: Known, task: str | None = None) -> dict[str, Any]:
    """Say what the average of two matched networks loses in accuracy, or why that cannot be said.

    The drop is the mean accuracy of both less that of their midpoint, on the test images of the task.

    Args:
        found: What `compare` said about them.
        first: One network.
        second: The other one.
        task: Name of the task; that of the zoo by default.

    Returns:
        "predicted drop"; "measured drop" and accuracies, or "not measured" with the reason; or "no average".

    Raises:
        DataError: The data of a named task are missing.
    """
    if first.spec.layout_id != second.spec.layout_id:
        return {"no average": "Their layouts differ, so there is no midpoint."}
    if None not in (first.spec.graph, second.spec.graph) and first.spec.graph != second.spec.graph:
        return {"no average": "Their tensors are laid out alike, but the networks compute other functions."}
    if found.state == "undecided" and found.compared != "matched units":
        return {"no average": found.why}
    expected = 0.0 if found.state == "identical" else can_merge(found.score)
    predicted = {"predicted drop": round(expected, 3)}
    if first.population is None:
        return {**predicted, "not measured": f"No code runs them. {_HOW}"}
    try:
        known = first.task(task) if first.task else None
        if known is None:
            return {**predicted, "not measured": f"No task is known. {_HOW}"}
        inputs, labels = known.split("test")
        population = first.population()
        pair = first.vector[None], second.vector[None]
        one, other, middle = midpoint_accuracies(population, *pair, inputs, labels)[:, 0].tolist()
    except (NoCode, SpecError, ZooError, DataError) as error:
        if task is not None:
            raise
        return {**predicted, "not measured": error.what}
    accuracies = {"first": round(one, 4), "second": round(other, 4), "midpoint": round(middle, 4)}
    return {
        **predicted,
        "measured drop": round((one + other) / 2 - middle, 4) + 0.0,
        "accuracies": accuracies,
    }
