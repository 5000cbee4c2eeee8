"""Anchors on a ring: a distribution whose single coordinates hide its shape."""

import torch


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ring(anchors: int = 120) -> torch.Tensor:
    """Codes of one token and two numbers, shape `(anchors, 1, 2)`, at distance 1 from zero."""
    angle = 6.2832 * torch.rand(anchors, generator=seeded(1))
    return torch.stack([angle.cos(), angle.sin()], dim=1)[:, None]


def off_ring(codes: torch.Tensor) -> float:
    """Mean distance from the ring."""
    return float((codes.norm(dim=-1) - 1).abs().mean())
