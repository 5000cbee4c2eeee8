"""Cross-entropy with distances that are cut off."""

import torch

from weightatlas.objectives.implicit import BAND, occupancy_error


def test_it_is_least_where_the_original_is():
    distances = torch.tensor([-1.0, -0.05, 0.0, 0.05, 1.0]).view(1, 5, 1)
    share = ((distances + BAND) / (2 * BAND)).clamp(1e-4, 1 - 1e-4)
    best = occupancy_error(share.logit(), distances)
    for other in (share.logit() + 0.3, share.logit() - 0.3, -share.logit()):
        assert float(occupancy_error(other, distances)) > float(best)


def test_beyond_the_band_distances_do_not_matter():
    outputs = torch.randn(2, 4, 1)
    near, far = torch.full((2, 4, 1), BAND), torch.full((2, 4, 1), 9.0)
    assert torch.equal(occupancy_error(outputs, near), occupancy_error(outputs, far))


def test_no_gradient_reaches_the_originals():
    outputs, distances = (torch.zeros(1, 3, 1, requires_grad=True) for _ in range(2))
    occupancy_error(outputs, distances).sum().backward()
    assert outputs.grad is not None
    assert distances.grad is None
