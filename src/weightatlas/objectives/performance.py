"""Performance loss: a rebuilt network should be right as often as its original."""

from jaxtyping import Float, Int
from torch import Tensor

SHARPNESS = 4.0  # logits are brought to this spread, so that the softmax is nearly a choice


def soft_accuracy(
    outputs: Float[Tensor, "networks queries classes"], answers: Int[Tensor, " queries"]
) -> Float[Tensor, " networks"]:
    """Mean probability of the right class after every network's logits got the same spread.

    Accuracy does not depend on the size of logits; networks stopped early have small ones.

    Args:
        outputs: Logits.
        answers: Classes of the queries.
    """
    spread = outputs.detach().std(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    chances = (outputs * (SHARPNESS / spread)).softmax(2)
    index = answers.expand(len(outputs), -1)[:, :, None]
    return chances.gather(2, index)[:, :, 0].mean(1)


def accuracy_gap(
    outputs: Float[Tensor, "networks queries classes"],
    targets: Float[Tensor, "networks queries classes"],
    answers: Int[Tensor, " queries"],
) -> Float[Tensor, " networks"]:
    """Squared difference of soft accuracies.

    What a code does not say about a network, distillation fills with what networks have in common, and
    that answers better than any of them: rebuilt networks come out too good. This term holds against it.

    Args:
        outputs: Logits of rebuilt networks.
        targets: Logits of their originals; no gradient reaches them.
        answers: Classes of the queries.
    """
    return (soft_accuracy(outputs, answers) - soft_accuracy(targets.detach(), answers)).square()
