"""Architecture loss: the class predicted from a code is the architecture it was made of."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


def class_losses(
    scores: Float[Tensor, "networks classes"], rungs: Int[Tensor, " networks"]
) -> Float[Tensor, " networks"]:
    """Cross-entropy of predicted places on the ladder (Berardi et al., 2022, L_class).

    Args:
        scores: One score per place of the ladder.
        rungs: The true places; for interpolated codes the places they must stand for.
    """
    return F.cross_entropy(scores, rungs, reduction="none")
