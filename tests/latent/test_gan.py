"""The adversarial generator learns the shape of the anchors and does not collapse to one."""

from tests.latent.rings import off_ring, ring, seeded
from weightatlas.latent.sample import sample
from weightatlas.latent.samplers import SampleConfig


def test_draws_are_spread_near_the_anchors() -> None:
    drawn = sample(ring(), 200, seeded(), "gan", SampleConfig(steps=800))
    single = sample(ring(), 200, seeded(), "gaussian")
    assert off_ring(drawn) < 0.7 * off_ring(single)
    assert drawn[:, 0].std(0).min() > 0.4
