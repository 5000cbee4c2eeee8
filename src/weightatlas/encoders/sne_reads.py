"""How SNE reads a batch: the networks of each spec, numbered through, and their chunks as scalars."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightatlas.encoders.sne_plan import Plan
from weightatlas.weights.batch import Weights
from weightatlas.weights.neurons import neuron_facts, neurons_of
from weightatlas.weights.spec import NetworkSpec


@dataclass(frozen=True, slots=True)
class Part:
    """Networks of one spec inside a batch, and where their numbering starts.

    Args:
        weights: The networks.
        plan: Index maps and positions.
        first: Numbers of its first network, tensor and layer.
        tables: Where its tensors, chunks and layers stand among the positions of all parts.
    """

    weights: Weights
    plan: Plan
    first: tuple[int, int, int]
    tables: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Read:
    """Chunks of one size of one spec, networks one after the other.

    Args:
        tokens: Their scalars, with what is known of the two neurons each links if that is wanted.
        real: True where a slot holds a weight, for the chunks of one network.
        tensor: Number of the tensor each is of, among all networks' tensors.
        table: Its tensor's row among the positions of all specs.
        row: Its own row among the positions of all specs' chunks.
        template: Which of `position` describes its slots.
        position: Positions of slots.
    """

    tokens: Float[Tensor, "chunks size width"]
    real: Bool[Tensor, "each size"]
    tensor: Int[Tensor, " chunks"]
    table: Int[Tensor, " chunks"]
    row: Int[Tensor, " chunks"]
    template: Int[Tensor, " chunks"]
    position: Float[Tensor, "templates size dim"]


def reads_of(part: Part, linked: bool) -> list[Read]:
    """Read the chunks of one spec from its networks, size by size.

    Args:
        part: The networks, their numbers scaled.
        linked: Put facts about the neurons it links beside every number.
    """
    values, plan, spec = part.weights.values, part.plan, part.weights.spec
    facts = neuron_facts(values, spec) if linked else None
    values = torch.cat([values, values.new_zeros(len(values), 1)], dim=1)
    network = torch.arange(len(values), device=values.device)[:, None] * len(plan.kind)
    found, start = [], 0
    for chunks, template, position in zip(plan.chunks, plan.template, plan.slot_position, strict=True):
        tensor = plan.chunk_tensor[start : start + len(template)]
        # Slot -1 reads the appended zero.
        slots = chunks.slots.long()
        tokens = values[:, slots][..., None]
        if facts is not None:
            tokens = torch.cat([tokens, *_of_neurons(facts, spec, slots)], dim=3)
        row = torch.arange(start, start + len(template), device=values.device) + part.tables[1]
        expanded = (len(values), len(template))
        found.append(
            Read(
                tokens=tokens.flatten(0, 1),
                real=chunks.slots >= 0,
                tensor=(network + tensor + part.first[1]).flatten(),
                table=(tensor + part.tables[0]).expand(expanded).flatten(),
                row=row.expand(expanded).flatten(),
                template=template.expand(expanded).flatten(),
                position=position,
            )
        )
        start += len(template)
    return found


def _of_neurons(
    facts: Float[Tensor, "networks neurons facts"], spec: NetworkSpec, slots: Int[Tensor, "chunks size"]
) -> list[Tensor]:
    """Facts about the two neurons that the number in each slot links; zeros for padding."""
    neurons = neurons_of(spec)
    maps = (torch.cat([part, part.new_tensor([neurons.count])]) for part in (neurons.row, neurons.column))
    return [facts[:, part.to(slots.device)[slots]] for part in maps]


def numbers(part: Part, inside: Int[Tensor, " tensors"], level: int) -> Int[Tensor, " items"]:
    """Number the layer of each tensor over all networks of the batch."""
    count = len(part.plan.layer_position)
    network = torch.arange(len(part.weights), device=inside.device)[:, None] * count
    return (network + inside + part.first[level]).flatten()


def network_of(part: Part, each: int) -> Int[Tensor, " items"]:
    """Number the network of `each` items per network."""
    device = part.plan.kind.device
    return torch.arange(len(part.weights), device=device).repeat_interleave(each) + part.first[0]


def stacked(tables: list[Tensor]) -> tuple[list[int], Tensor]:
    """Join tables, and say where each begins."""
    starts, total = [], 0
    for table in tables:
        starts.append(total)
        total += len(table)
    return starts, torch.cat(tables)
