"""Subsampling keeps the best of what was drawn; bootstrapping climbs."""

import pytest
import torch

from tests.latent.rings import seeded
from tests.latent.test_sample import Halver, spec_of
from weightatlas.config import Config
from weightatlas.errors import ConfigError
from weightatlas.latent.samplers import SampleConfig
from weightatlas.latent.select import bootstrap, subsample

SPEC = spec_of(3, 3)
ANCHORS = torch.randn(20, 1, 6, generator=seeded(1))


def scores(networks: torch.Tensor) -> torch.Tensor:
    """Higher is nearer to a place outside the anchors."""
    return -(networks - 4).norm(dim=1)


def test_subsampling_keeps_the_best_first() -> None:
    networks, codes = subsample(Halver(Config()), ANCHORS, SPEC, 4, seeded(), scores, "gaussian", draws=40)
    everything, _ = subsample(Halver(Config()), ANCHORS, SPEC, 40, seeded(), scores, "gaussian", draws=40)
    kept = scores(networks)
    assert torch.equal(kept, scores(everything)[:4])
    assert torch.equal(kept, kept.sort(descending=True).values)
    torch.testing.assert_close(networks, 2 * codes[:, 0])


def test_bootstrapping_climbs_beyond_one_round() -> None:
    wide = SampleConfig(bandwidth=1.0)
    found = [
        float(
            scores(
                bootstrap(Halver(Config()), ANCHORS, SPEC, 8, seeded(), scores, rounds=rounds, settings=wide)[
                    0
                ]
            ).mean()
        )
        for rounds in (1, 4)
    ]
    assert found[1] > found[0] + 1


def test_a_first_method_may_need_no_prompt() -> None:
    networks, codes = bootstrap(Halver(Config()), ANCHORS, SPEC, 8, seeded(), scores, first="prior", rounds=2)
    assert networks.shape == (8, 6)
    assert codes.shape == (8, 1, 6)


def test_five_are_drawn_for_each_one_kept_unless_told() -> None:
    seen: list[int] = []

    def count(networks: torch.Tensor) -> torch.Tensor:
        seen.append(len(networks))
        return scores(networks)

    subsample(Halver(Config()), ANCHORS, SPEC, 3, seeded(), count)
    bootstrap(Halver(Config()), ANCHORS, SPEC, 3, seeded(), count, rounds=2, draws=7)
    assert seen == [15, 7, 7]


def test_scores_that_are_not_numbers_come_last() -> None:
    def broken(networks: torch.Tensor) -> torch.Tensor:
        return scores(networks).masked_fill(networks[:, 0] > 0, torch.nan)

    networks, _ = subsample(Halver(Config()), ANCHORS, SPEC, 3, seeded(), broken, "gaussian", draws=30)
    assert (networks[:, 0] <= 0).all()


def test_too_few_draws_or_rounds_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"keep 3 networks, .* not 2"):
        subsample(Halver(Config()), ANCHORS, SPEC, 3, seeded(), scores, draws=2)
    with pytest.raises(ConfigError, match="at least 1 round, not 0"):
        bootstrap(Halver(Config()), ANCHORS, SPEC, 3, seeded(), scores, rounds=0)
