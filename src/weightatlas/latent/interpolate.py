"""Paths between networks: through codes, and the raw and aligned lines they are compared with."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.encoders.base import Autoencoder
from weightatlas.errors import DataError
from weightatlas.symmetry.matching import canonical
from weightatlas.weights.batch import Weights
from weightatlas.weights.spec import NetworkSpec


def line(
    start: Float[Tensor, "networks *rest"],
    end: Float[Tensor, "networks *rest"],
    positions: Float[Tensor, " positions"],
) -> Float[Tensor, "networks positions *rest"]:
    """Straight lines: start at 0, end at 1, beyond outside.

    Example:
        >>> line(torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([0.0, 0.25]))
        tensor([[[0.0000, 0.0000],
                 [0.2500, 0.2500]]])
    """
    at = positions.to(start).view(1, -1, *[1] * (start.ndim - 1))
    return torch.lerp(start[:, None], end[:, None], at)


def slerp(
    start: Float[Tensor, "networks *rest"],
    end: Float[Tensor, "networks *rest"],
    positions: Float[Tensor, " positions"],
) -> Float[Tensor, "networks positions *rest"]:
    """Great arcs: constant turning, the length going evenly from one to the other.

    Each network is one flattened vector. Where two are parallel or opposite, no arc is defined and
    the straight line is taken.

    Args:
        start: Where paths begin.
        end: Where they end.
        positions: Places on the path, 0 to 1.
    """
    first, second = start.flatten(1), end.flatten(1)
    lengths = first.norm(dim=1), second.norm(dim=1)
    units = [v / n.clamp_min(1e-30)[:, None] for v, n in zip((first, second), lengths, strict=True)]
    angle = (units[0].double() * units[1].double()).sum(1).clamp(-1, 1).arccos().to(first)[:, None, None]
    at = positions.to(first).view(1, -1, 1)
    sine = angle.sin()
    weights = [part.sin() / sine.clamp_min(1e-4) for part in ((1 - at) * angle, at * angle)]
    turned = weights[0] * units[0][:, None] + weights[1] * units[1][:, None]
    arcs = turned * torch.lerp(lengths[0][:, None, None], lengths[1][:, None, None], at)
    flat = torch.where(sine < 1e-4, line(first, second, positions), arcs)
    return flat.view(len(start), -1, *start.shape[1:])


def between_codes(
    encoder: Autoencoder,
    start: Weights,
    end: Weights,
    positions: Float[Tensor, " positions"],
    path: Literal["line", "slerp"] = "line",
) -> Float[Tensor, "networks positions params"]:
    """Decode networks on a path between the codes of two sets of networks.

    Args:
        encoder: Any autoencoder that decodes weights.
        start: Networks where paths begin, one spec.
        end: As many networks of the same layout where they end.
        positions: Places on the path, 0 to 1.
        path: "line" or "slerp".

    Raises:
        DataError: The two sets differ in number or layout.
    """
    _check_pairs(start.values, end.values)
    with torch.no_grad():
        codes = encoder.encode(start).codes, encoder.encode(end).codes
        points = (line if path == "line" else slerp)(*codes, positions)
        decoded = [encoder.decode(part, start.spec).weights for part in points.unbind(1)]
    return torch.stack(decoded, dim=1)


def between_weights(
    start: Float[Tensor, "networks params"],
    end: Float[Tensor, "_ _"],
    positions: Float[Tensor, " positions"],
    spec: NetworkSpec | None = None,
) -> Float[Tensor, "networks positions params"]:
    """Straight lines between weights: the floor of every path through codes.

    Args:
        start: Networks as rows.
        end: As many networks of the same layout.
        positions: Places on the path, 0 to 1.
        spec: With a spec, each end is first brought into the neuron order of its start (Git Re-Basin).

    Raises:
        DataError: The two sets differ in number or layout.
    """
    _check_pairs(start, end)
    if spec is not None and spec.groups:
        # Every pair has its own reference: assignment problems are solved pair by pair.
        rows = zip(end.split(1), start, strict=True)
        end = torch.cat([canonical(one, reference, spec) for one, reference in rows])
    return line(start, end, positions)


def _check_pairs(start: Tensor, end: Tensor) -> None:
    """Refuse sets that are not pairs."""
    if start.shape != end.shape:
        shapes = f"{tuple(start.shape)} and {tuple(end.shape)}"
        raise DataError(f"Paths need pairs of networks of one layout; the sets have shapes {shapes}.")
