"""Linear assignment, one problem per network."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_LARGE = 128  # units from which on threads are worth starting


def assign(gains: Float[Tensor, "networks n n"]) -> Int[Tensor, "networks n"]:
    """Choose a partner for every unit so that the sum of gains is largest; exact.

    Large problems are solved in as many threads as torch has; the solver lets other threads run.

    Example:
        >>> assign(torch.tensor([[[1.0, 3.0], [2.0, 9.0]]]))
        tensor([[0, 1]])

    Args:
        gains: `gains[:, i, j]` is what pairing i with j gives.
    """
    matrices = gains.cpu().numpy()
    if not len(matrices):
        return torch.zeros(gains.shape[:2], dtype=torch.int64, device=gains.device)
    crew = min(torch.get_num_threads(), len(matrices)) if gains.shape[1] >= _LARGE else 1
    if crew == 1:
        return torch.stack([_solve(matrix) for matrix in matrices]).to(gains.device)
    with ThreadPoolExecutor(crew) as pool:
        return torch.stack(list(pool.map(_solve, matrices))).to(gains.device)


def _solve(gains: np.ndarray) -> Tensor:
    from scipy.optimize import linear_sum_assignment

    return torch.from_numpy(linear_sum_assignment(gains, maximize=True)[1])
