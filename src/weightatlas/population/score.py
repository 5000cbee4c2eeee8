"""How well many networks do: loss, accuracy, predictions, agreement."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from weightatlas.population.forward import Population


def score(
    population: Population,
    weights: Float[Tensor, "networks params"],
    inputs: Tensor,
    labels: Int[Tensor, " queries"],
) -> dict[str, Float[Tensor, " networks"]]:
    """Measure cross-entropy and accuracy of every network on the same labelled inputs.

    Args:
        population: Runs the networks.
        weights: Networks as rows.
        inputs: Normalized inputs, shape `(queries, ...)`.
        labels: Their classes.

    Returns:
        "loss" and "acc", each of shape `(networks,)`.
    """
    loss, correct = torch.zeros(len(weights)), torch.zeros(len(weights))
    for rows, queries, outputs in _run(population, weights, inputs):
        own = labels[queries].expand(outputs.shape[:2])
        each = F.cross_entropy(outputs.flatten(0, 1), own.flatten(), reduction="none").view(outputs.shape[:2])
        loss[rows] += each.double().sum(dim=1).to(loss)
        correct[rows] += (outputs.argmax(dim=2) == own).sum(dim=1).to(loss)
    return {"loss": loss / len(inputs), "acc": correct / len(inputs)}


def predictions(
    population: Population, weights: Float[Tensor, "networks params"], inputs: Tensor
) -> Int[Tensor, "networks queries"]:
    """Return the class every network predicts for every input."""
    found = torch.empty(len(weights), len(inputs), dtype=torch.int64)
    for rows, queries, outputs in _run(population, weights, inputs):
        found[rows, queries] = outputs.argmax(dim=2).cpu()
    return found


def agreement(
    first: Int[Tensor, "networks queries"], second: Int[Tensor, "others queries"]
) -> Float[Tensor, "networks others"]:
    """Return the share of inputs on which each network of one set predicts as each of another.

    Example:
        >>> agreement(torch.tensor([[0, 1, 2]]), torch.tensor([[0, 1, 1], [0, 1, 2]]))
        tensor([[0.6667, 1.0000]])
    """
    classes = int(max(first.max(), second.max())) + 1
    one_hot = [F.one_hot(x, classes).flatten(1).float() for x in (first, second)]
    return one_hot[0] @ one_hot[1].T / first.shape[1]


@torch.no_grad()
def _run(
    population: Population, weights: Tensor, inputs: Tensor
) -> Iterator[tuple[slice, slice, Float[Tensor, "networks queries classes"]]]:
    """Yield outputs in pieces that fit the memory budget, with the rows and queries they belong to."""
    count, width = population.pieces(len(weights), inputs)
    for row in range(0, len(weights), count):
        for query in range(0, len(inputs), width):
            rows, queries = slice(row, row + count), slice(query, query + width)
            yield rows, queries, population.outputs_no_grad(weights[rows], inputs[queries])
