"""The labelled inputs that networks are judged on, and the means to run them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.population.forward import Population


@dataclass(frozen=True, slots=True)
class Exam:
    """Runs networks on the evaluation images, a chunk at a time.

    Example:
        >>> exam = Exam(lambda values: values[:, None, :], torch.tensor([1]))
        >>> exam.accuracy(exam.classes(torch.tensor([[0.1, 0.9], [0.8, 0.2]])))
        tensor([1., 0.])

    Args:
        run: Weights `(networks, params)` to outputs `(networks, queries, classes)`, without gradients.
        labels: Class of each query, shape `(queries,)`.
        chunk: Networks per call of `run`; bounds the memory.
    """

    run: Callable[[Tensor], Tensor]
    labels: Int[Tensor, " queries"]
    chunk: int = 256

    @torch.no_grad()
    def outputs(self, values: Float[Tensor, "networks params"]) -> Float[Tensor, "networks queries classes"]:
        """Return the raw outputs of every network; for large sets prefer `classes`."""
        return torch.cat([self.run(part) for part in values.split(self.chunk)])

    @torch.no_grad()
    def classes(self, values: Float[Tensor, "networks params"]) -> Int[Tensor, "networks queries"]:
        """Return the class every network predicts for every query; NaN outputs become class -1."""
        return torch.cat([decide(self.run(part)) for part in values.split(self.chunk)])

    def accuracy(self, classes: Int[Tensor, "networks queries"]) -> Float[Tensor, " networks"]:
        """Return the share of queries each network answers rightly."""
        return (classes == self.labels.to(classes.device)).float().mean(1)


def exam_of(
    population: Population, inputs: Tensor, labels: Int[Tensor, " queries"], chunk: int = 256
) -> Exam:
    """Make an exam of a population and the images of a test split.

    Raises:
        DataError: There are no images, or not one label each.
    """
    if len(inputs) != len(labels) or not len(labels):
        raise DataError(
            f"An exam needs a label per input; there are {len(inputs)} inputs, {len(labels)} labels."
        )
    return Exam(lambda values: population.outputs_no_grad(values, inputs), labels, chunk)


def decide(outputs: Float[Tensor, "networks queries classes"]) -> Int[Tensor, "networks queries"]:
    """Pick the most likely class; outputs with NaN decide nothing and become -1."""
    return torch.where(outputs.isnan().any(2), -1, outputs.argmax(2))
