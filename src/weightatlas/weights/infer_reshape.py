"""Whether a reshape in an ONNX graph is a flatten of channels with their positions."""

from collections.abc import Sequence

from weightatlas.weights.files.checkpoint import Operation

_PASSED = ("Concat", "Unsqueeze", "Squeeze", "Cast", "Identity")
_LONGEST = 10  # operations between a shape and what is made of it


def keeps_batch(step: Operation, graph: Sequence[Operation], channels: int) -> bool:
    """Tell a flatten, (batch, channels * positions), from (batch * channels, positions) and the like.

    A matrix behind either may fit as well, so what the target does not settle is not taken for a flatten.
    Targets of more than two axes are left to what reads them.

    Example:
        >>> keeps_batch(Operation(op="Reshape", attributes={"shape": [0, -1]}), (), 8)
        True

    Args:
        step: The reshape; its attribute "shape" is its target, if that is a constant.
        graph: All operations, in order.
        channels: Of what is reshaped.
    """
    shape = step.attributes.get("shape")
    if shape is None:
        return len(step.inputs) > 1 and _begins_with_batch(step.inputs[1], graph)
    if len(shape) != 2 or channels == 1:
        return True
    if shape[0] == 0:
        return not step.attributes.get("allowzero")
    if shape[0] > 0:
        batch = graph[-1].attributes.get("batch") if graph else None
        return shape[0] in (1, batch) or shape[0] % channels != 0
    # Rows of (batch * channels, positions) have to be sorted back by another reshape.
    return [other for other in graph if other.op == "Reshape"][-1] is step


def _begins_with_batch(name: str, graph: Sequence[Operation]) -> bool:
    """Follow the first entry of a computed target back to a value's shape, without arithmetic between."""
    makers = {output: step for step in graph for output in step.outputs}
    for _ in range(_LONGEST):
        step = makers.get(name)
        if step is None or not step.inputs:
            return False
        if step.op in ("Gather", "Slice"):
            source = makers.get(step.inputs[0])
            return source is not None and source.op == "Shape"
        if step.op == "Shape":
            return step.attributes.get("start", 0) == 0
        if step.op not in _PASSED:
            return False
        name = step.inputs[0]
    return False
