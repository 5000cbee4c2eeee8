"""Knowledge distillation: rebuilt networks learn from their originals or a teacher, and from labels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from weightatlas.objectives.behavioral import distillation


def knowledge(
    outputs: Float[Tensor, "networks queries classes"],
    targets: Float[Tensor, "networks queries classes"],
    answers: Int[Tensor, " queries"] | None = None,
    alpha: float = 1.0,
    temperature: float = 4.0,
    relative: bool = False,
) -> Float[Tensor, " networks"]:
    """`alpha T^2 KL + (1 - alpha) CE`: L_pred for alpha 1, else L_kd (Berardi et al., 2022, Eqs. 1 to 5).

    Example:
        >>> same = torch.randn(2, 5, 3)
        >>> bool(knowledge(same, same).abs().max() < 1e-6)
        True

    Args:
        outputs: Logits of the rebuilt networks.
        targets: Logits to imitate; no gradient reaches them.
        answers: Classes of the queries; needed where alpha is below 1.
        alpha: Share of the divergence; the rest is cross-entropy with the classes.
        temperature: Divides both logits before the softmax.
        relative: Divide each divergence by that of an even answer from the same target. Then 1 means that
            nothing was learned, whatever the size of the logits: networks stopped early have small ones,
            and would hardly count otherwise.
    """
    targets = targets.detach()
    loss = distillation(outputs, targets, temperature)
    if relative:
        loss = loss / distillation(torch.zeros_like(targets), targets, temperature).clamp(min=1e-6)
    loss = alpha * loss
    if answers is None or alpha == 1:
        return loss
    count = len(outputs)
    each = F.cross_entropy(outputs.flatten(0, 1), answers.repeat(count), reduction="none")
    return loss + (1 - alpha) * each.view(count, -1).mean(1)


def signal_error(
    outputs: Float[Tensor, "networks queries channels"], targets: Float[Tensor, "networks queries channels"]
) -> Float[Tensor, " networks"]:
    """Mean squared error of represented signals: L_pred of Eq. 2 (Berardi et al., 2022).

    Args:
        outputs: Signals of the rebuilt networks at some points.
        targets: Those of the originals at the same points; no gradient reaches them.
    """
    return (outputs - targets.detach()).square().mean((1, 2))
