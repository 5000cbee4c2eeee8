"""Weight error: how far rebuilt weights are from those of the originals, whatever the networks do."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from weightatlas.encoders.netspace import NetSpace
from weightatlas.encoders.prep_autoencoder import PrepAutoencoder
from weightatlas.symmetry.matching import canonical
from weightatlas.weights.batch import Weights


@torch.no_grad()
def read_by(encoder: PrepAutoencoder, weights: Weights) -> Float[Tensor, "networks most"]:
    """Return networks in the neuron order in which an encoder reads them.

    An encoder that aligns sees no other order, so no other can be asked of its decoder.

    Args:
        encoder: The autoencoder, adapted.
        weights: Networks of one architecture.

    Returns:
        Their weights, followed by as many zeros as the largest architecture has more of them.
    """
    spec, rung, values = weights.spec, encoder.rung(weights.spec), weights.values
    if isinstance(encoder, NetSpace) and bool(encoder.aligns[rung]) and spec.groups:
        values = canonical(values, encoder.reference[rung, : spec.params], spec)
    return F.pad(values, (0, encoder.ladder[-1].params - spec.params))


def weight_errors(
    encoder: PrepAutoencoder,
    codes: Float[Tensor, "networks codes width"],
    rungs: Int[Tensor, " networks"],
    originals: Float[Tensor, "networks most"],
) -> Float[Tensor, " networks"]:
    """Mean squared error over real weights, in the encoder's units; no network is executed.

    An encoder that standardizes has the spread of each tensor as its unit, so that no layer drowns the
    others; the published one has none and counts weights as they are.

    Args:
        encoder: The autoencoder.
        codes: Codes of any architectures.
        rungs: The architecture of each.
        originals: What each must be rebuilt as, from `read_by`; no gradient reaches them.
    """
    errors, order = [], []
    for rung in rungs.unique().tolist():
        rows, spec = (rungs == rung).nonzero().flatten(), encoder.ladder[rung]
        rebuilt = encoder.decode(codes[rows], spec).weights
        missing = rebuilt - originals[rows, : spec.params].detach()
        errors.append((missing / encoder.scale(spec).to(missing)).square().mean(1))
        order.append(rows)
    return torch.cat(errors)[torch.cat(order).argsort()]
