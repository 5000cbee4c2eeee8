"""Make relatives of networks: what people do to checkpoints, for tests and for `bench lineage`."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from weightatlas.errors import ConfigError
from weightatlas.population.initialize import initialize
from weightatlas.population.train import TrainConfig, train
from weightatlas.relate.canonical import body_of
from weightatlas.runtime import generator_of, key_of
from weightatlas.symmetry.matching import canonical
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.symmetry.signs import rescale, sample_factors
from weightatlas.weights.spec import NetworkSpec

Precision = Literal["float16", "bfloat16", "int8", "int8 per row", "int4 per row"]

Rows = Float[Tensor, "networks params"]
Data = tuple[Tensor, Tensor]


def permuted(values: Rows, spec: NetworkSpec, seed: int = 0) -> Rows:
    """Renumber all hidden units at random.

    Args:
        values: Networks as rows.
        spec: Their layout.
        seed: Seed of the order.
    """
    return permute(values, sample(spec, len(values), generator_of("permuted", seed)), spec)


def rescaled(values: Rows, spec: NetworkSpec, seed: int = 0) -> Rows:
    """Scale hidden units by random factors (ReLU) or flip their signs (tanh); the function stays.

    Args:
        values: Networks as rows.
        spec: Their layout, with a graph.
        seed: Seed of the factors.
    """
    return rescale(values, sample_factors(spec, len(values), generator_of("rescaled", seed)), spec)


def pruned(values: Rows, spec: NetworkSpec, shares: Sequence[float]) -> Rows:
    """Set the smallest weights of every weight tensor to zero.

    Args:
        values: Networks as rows.
        spec: Their layout.
        shares: Share of zeros, one per network.
    """
    result = values.clone()
    for tensor, start in zip(spec.tensors, spec.offsets, strict=True):
        if tensor.role != "weight":
            continue
        block = result[:, start : start + tensor.size]
        order = block.abs().argsort(dim=1).argsort(dim=1)
        kept = order >= (torch.as_tensor(shares)[:, None] * tensor.size).to(order)
        block.mul_(kept)
    return result


def quantized(values: Rows, spec: NetworkSpec, precision: Precision) -> Rows:
    """Round networks: to a short float format, or symmetrically to integers times a step.

    Integers are for weight tensors, with one step per tensor or per row; other tensors stay.

    Args:
        values: Networks as rows.
        spec: Their layout.
        precision: What to round to.

    Raises:
        ConfigError: The precision is unknown.
    """
    if precision in ("float16", "bfloat16"):
        return values.to(getattr(torch, precision)).to(values.dtype)
    kind, _, scope = precision.partition(" ")
    if kind not in ("int8", "int4"):
        raise ConfigError(f"There is no precision '{precision}'.")
    result, top = values.clone(), 2 ** (int(kind[3:]) - 1) - 1
    for tensor, start in zip(spec.tensors, spec.offsets, strict=True):
        if tensor.role == "weight":
            block = result[:, start : start + tensor.size]
            rows = block.reshape(len(values), tensor.rows if scope else 1, -1)
            step = (rows.abs().amax(dim=2, keepdim=True) / top).clamp_min(1e-12)
            block.copy_(((rows / step).round() * step).flatten(1))
    return result


def merged(values: Rows, others: Rows, spec: NetworkSpec, matched: bool = False) -> Rows:
    """Average networks with others, as they are or after weight matching.

    Args:
        values: Networks as rows.
        others: The same number of networks.
        spec: Their layout.
        matched: Whether each other is first matched to its partner.
    """
    if matched:
        rows = [canonical(other[None], one, spec)[0] for one, other in zip(values, others, strict=True)]
        others = torch.stack(rows)
    return (values + others) / 2


def tuned(
    values: Rows,
    spec: NetworkSpec,
    network: nn.Module,
    data: Data,
    runs: Sequence[TrainConfig],
    epochs: int,
) -> Rows:
    """Train networks further.

    Args:
        values: Networks as rows.
        spec: Their layout.
        network: Their module.
        data: Inputs and labels.
        runs: Settings, one per network.
        epochs: How long.
    """
    steps = train(network, spec, {"train": data}, runs, epochs, engine="batched", start=values)
    return next(iter(steps)).weights


def headless(values: Rows, spec: NetworkSpec, seed: int = 0) -> Rows:
    """Replace the head by fresh random weights.

    Args:
        values: Networks as rows.
        spec: Their layout.
        seed: Seed of the weights.
    """
    keys = torch.tensor([key_of("head", seed, row) for row in range(len(values))])
    result = initialize(spec, keys, "kaiming_uniform")
    _, keep = body_of(spec)
    result[:, keep] = values[:, keep]
    return result


def relabeled(labels: Int[Tensor, " images"], classes: int, seed: int = 0) -> Int[Tensor, " images"]:
    """Give the classes other numbers: a new task for a new head."""
    return torch.randperm(classes, generator=generator_of("labels", seed))[labels]


def version_of(images: Float[Tensor, "images channels side side"], number: int) -> Tensor:
    """Mirror, turn or invert images: 16 versions, of which the first is the original.

    Args:
        images: Square images.
        number: 0 to 15; bits mean mirrored, turned by 90 degrees, by 180 degrees, inverted.
    """
    if number & 1:
        images = images.flip(3)
    images = images.rot90(number >> 1 & 3, (2, 3))
    return images.amax() + images.amin() - images if number & 8 else images


def student(
    teacher: nn.Module, fresh: nn.Module, inputs: Tensor, epochs: int = 12, seed: int = 0, lr: float = 3e-3
) -> nn.Module:
    """Teach a fresh network the soft outputs of another (Hinton et al., 2015); temperature 2.

    Args:
        teacher: Whose outputs.
        fresh: Who learns; changed in place.
        inputs: Images without labels.
        epochs: How long, in batches of 32 with Adam.
        seed: Seed of the order.
        lr: Learning rate.
    """
    with torch.no_grad():
        goal = F.softmax(teacher.eval()(inputs) / 2, dim=1)
    optimizer = torch.optim.Adam(fresh.parameters(), lr=lr)
    generator = generator_of("student", seed)
    fresh.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(inputs), generator=generator).split(32)[:-1]:
            optimizer.zero_grad()
            F.cross_entropy(fresh(inputs[batch]) / 2, goal[batch]).backward()
            optimizer.step()
    return fresh.eval()
