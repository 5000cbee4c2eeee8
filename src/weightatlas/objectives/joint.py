"""Terms of a step that several processes share: what one process would compute, and each one's gradient."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.encoders.base import Encoded
from weightatlas.objectives.step import Objective, Step

DROPPED = "dropped"


def seen(objective: Objective, step: Step) -> Step:
    """Return the step as an objective must see it: one that compares networks sees all processes' embeddings.

    Args:
        objective: The term.
        step: What this process has computed.
    """
    if step.processes.count == 1 or objective.joins != "embeddings":
        return step
    own = step.encoded.embedding.unflatten(0, (step.views, -1))
    embedding = step.processes.gather(own, step.networks).flatten(0, 1)
    mask = torch.ones(len(embedding), 1, dtype=torch.bool, device=embedding.device)
    return replace(step, encoded=Encoded(embedding[:, None], mask, embedding))


def joined(
    objective: Objective, step: Step, found: dict[str, Float[Tensor, ""]]
) -> dict[str, Float[Tensor, ""]]:
    """Bring an objective's numbers to those of the whole step.

    Their values are equal in all processes; gradients are each process's share, so that the gradient of the
    whole is the sum over the processes.

    Args:
        objective: The term.
        step: What this process has computed.
        found: What the objective said of it.
    """
    processes = step.processes
    if processes.count == 1:
        return found
    if objective.joins == "embeddings":
        return {name: _valued(value, value / processes.count) for name, value in found.items()}
    # A mean over networks, less those that were left out: weighted by how many there are.
    rows = torch.tensor(float(len(step.encoded.embedding)), device=step.encoded.embedding.device)
    kept = rows - found.get(DROPPED, 0.0)
    shares = {name: value * kept for name, value in found.items() if name != DROPPED}
    numbers = torch.stack([*shares.values(), kept, found.get(DROPPED, 0 * rows)])
    *totals, count, dropped = processes.sum(numbers)
    count = count.clamp(min=1)
    values = {
        name: _valued(total / count, share / count)
        for (name, share), total in zip(shares.items(), totals, strict=True)
    }
    return {**values, DROPPED: dropped} if DROPPED in found else values


def _valued(value: Float[Tensor, ""], share: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Give a number the gradient of another one."""
    return value.detach() + (share - share.detach())
