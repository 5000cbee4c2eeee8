"""Whether a reshape in an ONNX graph is a flatten of channels with their positions."""

from collections.abc import Sequence

from weightatlas.weights.files.checkpoint import Operation

_PASSED = ("Concat", "Unsqueeze", "Squeeze", "Cast", "Identity")
_LONGEST = 10  # operations between a shape and what is made of it


class Reshapes:
    """The reshapes of one graph.

    Example:
        >>> Reshapes(()).keeps_batch(Operation(op="Reshape", attributes={"shape": [0, -1]}), 8)
        True

    Args:
        graph: All operations, in order, the last one naming the outputs ("Output").
    """

    def __init__(self, graph: Sequence[Operation]) -> None:
        self.makers = {output: step for step in graph for output in step.outputs}
        self.last = next((step for step in reversed(graph) if step.op == "Reshape"), None)
        self.batch = graph[-1].attributes.get("batch") if graph else None

    def keeps_batch(self, step: Operation, channels: int) -> bool:
        """Tell a flatten, (batch, channels * positions), from (batch * channels, positions) and the like.

        A matrix behind either may fit as well, so what the target does not settle is not taken for a flatten.
        Targets of more than two axes are left to what reads them.

        Args:
            step: The reshape; its attribute "shape" is its target, if that is a constant.
            channels: Of what is reshaped.
        """
        shape = step.attributes.get("shape")
        if shape is None:
            return len(step.inputs) > 1 and self._begins_with_batch(step.inputs[1])
        if len(shape) != 2 or channels == 1:
            return True
        if shape[0] == 0:
            return not step.attributes.get("allowzero")
        if shape[0] > 0:
            return shape[0] in (1, self.batch) or shape[0] % channels != 0
        # Rows of (batch * channels, positions) have to be sorted back by another reshape.
        return self.last is step

    def _begins_with_batch(self, name: str) -> bool:
        """Follow the first entry of a computed target back to a value's shape, without arithmetic between."""
        for _ in range(_LONGEST):
            step = self.makers.get(name)
            if step is None or not step.inputs:
                return False
            if step.op in ("Gather", "Slice"):
                source = self.makers.get(step.inputs[0])
                return source is not None and source.op == "Shape"
            if step.op == "Shape":
                return step.attributes.get("start", 0) == 0
            if step.op not in _PASSED:
                return False
            name = step.inputs[0]
        return False
