"""Flow matching learns what single-coordinate densities cannot."""

import torch

from tests.latent.rings import off_ring, ring, seeded
from weightatlas.latent.flow import Velocity
from weightatlas.latent.sample import sample
from weightatlas.latent.samplers import SampleConfig


def test_draws_stay_on_a_ring_that_coordinates_alone_do_not_show() -> None:
    drawn = sample(ring(), 200, seeded(), "flow", SampleConfig(steps=600))
    single = sample(ring(), 200, seeded(), "pca_kde", SampleConfig(bandwidth=0.05))
    assert off_ring(drawn) < 0.6 * off_ring(single)
    assert drawn[:, 0].std(0).min() > 0.4  # all around, not one place


def test_velocity_has_the_shape_of_points() -> None:
    assert Velocity(3)(torch.zeros(5, 3), torch.zeros(5, 1)).shape == (5, 3)
