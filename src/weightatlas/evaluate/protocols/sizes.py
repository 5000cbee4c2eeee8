"""Activation codes in few bits: rounded as they are fitted, at the better of several ratios."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.encoders.activation import Activation
from weightatlas.encoders.base import Encoder
from weightatlas.encoders.rounding import MOST, Rounding, fit_rounding
from weightatlas.evaluate.compression import Compressed
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.weights.batch import Weights, weights_of

SIZES = (6.0, 5.0, 4.0, 3.0, 2.5, 2.0, 1.5)  # bits per parameter


def rounded_sizes(
    stage: Stage,
    originals: Weights,
    encoders: Sequence[Activation],
    method: str,
    sizes: Sequence[float] = SIZES,
    judges: int = 32,
) -> Iterator[Compressed]:
    """Yield networks rebuilt from codes of fewer and fewer bits.

    Bits are shared on training networks. Where several encoders are given, each size takes the one
    that does best on validation networks and training images.

    Args:
        stage: Zoo.
        originals: Test networks.
        encoders: The same method at several ratios.
        method: Its name in the table.
        sizes: Bits per parameter; those beyond what an encoder can use are left out.
        judges: Validation networks that decide.
    """
    tried = [(e, r) for e in encoders for r in _roundings(stage, e, sizes)]
    judging = _evenly(stage.val_values, judges)
    expected = _predicted(stage, judging)
    for place, size in enumerate(sizes):
        options = [(e, r) for e, r in tried[place :: len(sizes)] if r is not None]
        scores = [
            float(
                (_predicted(stage, rebuilt(e, r, weights_of(judging, stage.spec))) == expected).float().mean()
            )
            for e, r in (options if len(options) > 1 else [])
        ]
        if not options:
            continue
        encoder, rounding = options[scores.index(max(scores)) if scores else 0]
        weights = rebuilt(encoder, rounding, originals)
        name = f"{method}, {size:g} bits per parameter"
        yield Compressed(name, weights, rounding.size, shared_bits(encoder) + rounding.fixed)


@torch.no_grad()
def rebuilt(
    encoder: Activation, rounding: Rounding | None, originals: Weights
) -> Float[Tensor, "networks params"]:
    """Encode networks, round as the encoder goes, and decode."""
    codes = encoder.encode_rounded(originals, rounding).codes
    return encoder.decode(codes, originals.spec).weights


def shared_bits(encoder: Encoder) -> float:
    """Return what an encoder stores once for all networks, at 32 bits a number."""
    return 32.0 * sum(tensor.numel() for tensor in encoder.state_dict().values())


def _roundings(stage: Stage, encoder: Activation, sizes: Sequence[float]) -> list[Rounding | None]:
    """Fit one rounding per size; none where numbers would get more bits than they can use."""
    known = encoder.encode(weights_of(_evenly(stage.train_values, 256), stage.spec)).codes
    units, numbers = encoder.units(known), known.shape[2]
    means = [size * stage.spec.params / numbers for size in sizes]
    return [fit_rounding(known[:, 0], units, mean) if mean < MOST - 1 else None for mean in means]


def _predicted(stage: Stage, values: Float[Tensor, "networks params"]) -> Tensor:
    return stage.population.outputs_no_grad(values, stage.pool.inputs).argmax(2)


def _evenly(values: Float[Tensor, "networks params"], count: int) -> Float[Tensor, "some params"]:
    count = min(count, len(values))
    return values[torch.arange(count, device=values.device) * len(values) // count]
