"""Columns of a zoo as numbers to learn from."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import ZooError


def as_label(name: str, column: np.ndarray) -> Float[Tensor, " networks"]:
    """Turn a column into a float tensor.

    Example:
        >>> as_label("step", np.array([1, 14]))
        tensor([ 1., 14.])

    Args:
        name: Its name, for the error.
        column: A value per network.

    Raises:
        ZooError: It is not numeric.
    """
    if column.dtype == object or column.dtype.kind in "US":
        raise ZooError(
            f"The column '{name}' holds text, a label must be a number.",
            todo="PropertyPredictor learns text as classes.",
        )
    return torch.from_numpy(column.astype(np.float32))
