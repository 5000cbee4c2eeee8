"""Which steps of a program may write over whose memory, and which outputs the backward pass still needs."""

from collections import Counter
from dataclasses import dataclass

from weightatlas.population import operations as ops
from weightatlas.population import operations_pooling as pools


@dataclass(frozen=True)
class Step:
    """One operation with the slots it reads and the one it writes."""

    operation: ops.Operation
    inputs: tuple[int, ...]
    output: int


def share_memory(steps: list[Step], result: int) -> None:
    """Mark operations that may write over their input: nobody else reads it, its maker is done with it."""
    made = {step.output: step.operation for step in steps}
    readers = Counter(slot for step in steps for slot in step.inputs)
    for step in steps:
        slot, operation = step.inputs[0], step.operation
        able = isinstance(operation, pools.MaxPool2d) or getattr(operation, "by_output", False)
        free = slot in made and made[slot].frees_output and readers[slot] == 1 and slot != result
        operation.reuse = able and free


def mark_lasting(steps: list[Step]) -> None:
    """Mark operations whose output some backward pass looks at; all others may lose it before that."""
    lasting: set[int] = set()
    for step in reversed(steps):
        operation = step.operation
        by_output = getattr(operation, "by_output", False)
        operation.lasts = step.output in lasting or not (operation.frees_output or operation.passes)
        same_memory = operation.passes or (by_output and operation.reuse)
        if (same_memory and operation.lasts) or not (operation.frees_input or by_output):
            lasting.update(step.inputs)
