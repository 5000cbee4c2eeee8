"""Points on maps of few dimensions become codes between anchors."""

import importlib.util

import pytest
import torch

from weightatlas.errors import ConfigError
from weightatlas.latent.neighborhood import barycenters
from weightatlas.latent.sample import sample


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_barycenters_return_an_anchor_at_its_own_point() -> None:
    points, codes = torch.randn(8, 3, generator=seeded()), torch.randn(8, 2, 5, generator=seeded(1))
    back = barycenters(points, codes, points[:3], near=3)
    torch.testing.assert_close(back, codes[:3])


def test_barycenters_lie_within_the_box_of_the_anchors() -> None:
    points, codes = torch.randn(8, 3, generator=seeded()), torch.randn(8, 2, 5, generator=seeded(1))
    back = barycenters(points, codes, torch.randn(20, 3, generator=seeded(2)), near=4)
    assert (back >= codes.amin(0) - 1e-5).all()
    assert (back <= codes.amax(0) + 1e-5).all()


def test_isomap_follows_a_bent_line_of_anchors() -> None:
    """Anchors on a circle arc: a draw of the plane's normal density leaves the arc, one on the map stays."""
    angle = torch.linspace(0, 4.5, 80)
    codes = torch.stack([angle.cos(), angle.sin()], dim=1)[:, None]

    def off(method: str) -> float:
        drawn = sample(codes, 100, seeded(), method)
        return float((drawn.norm(dim=-1) - 1).abs().median())

    assert off("neighborhood_isomap") < 0.1 < off("gaussian")


@pytest.mark.skipif(importlib.util.find_spec("umap") is not None, reason="umap-learn is installed")
def test_umap_says_what_is_missing() -> None:
    with pytest.raises(ConfigError, match="umap-learn"):
        sample(torch.randn(8, 1, 4), 2, seeded(), "neighborhood_umap")
