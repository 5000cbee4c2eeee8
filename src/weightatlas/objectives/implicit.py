"""Losses of decoders that answer for coordinates."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

BAND = 0.1  # distances beyond are cut off, as in inr2vec


def occupancy_error(
    outputs: Float[Tensor, "networks points 1"], distances: Float[Tensor, "networks points 1"]
) -> Float[Tensor, " networks"]:
    """Binary cross-entropy with `(distance + 0.1) / 0.2`, cut off to 0..1 (De Luigi et al., 2023, Sec. 3).

    Example:
        >>> import torch
        >>> surface = torch.zeros(1, 4, 1)
        >>> occupancy_error(surface, surface)
        tensor([0.6931])

    Args:
        outputs: Logits; positive means outside.
        distances: Signed distances of the originals; no gradient reaches them.
    """
    wanted = ((distances.detach() + BAND) / (2 * BAND)).clamp(0, 1)
    return F.binary_cross_entropy_with_logits(outputs, wanted, reduction="none").mean((1, 2))
