"""Drawn networks come to behave like the mixtures they are given, and stay different from each other."""

import pytest
import torch

from tests.encoders.test_activation import made
from tests.latent.rings import seeded
from weightatlas.errors import ConfigError
from weightatlas.latent.charts import free_chart
from weightatlas.latent.imitate import imitate, imitations, mixture, parents_of, wider_pool
from weightatlas.latent.refine import RefineConfig, distance
from weightatlas.population.forward import Population


def test_parents_are_distinct_anchors() -> None:
    chosen = parents_of(50, 6, seeded(), parents=3)
    assert chosen.shape == (50, 3)
    assert all(len(set(row)) == 3 for row in chosen.tolist())
    assert chosen.unique().tolist() == list(range(6))
    with pytest.raises(ConfigError, match="2 anchors"):
        parents_of(5, 2, seeded(), parents=3)


def test_mixtures_are_probabilities_between_those_of_the_parents() -> None:
    outputs = torch.randn(6, 10, 4, generator=seeded(1))
    chosen = parents_of(20, 6, seeded(2), parents=2)
    mixed = mixture(outputs, chosen, seeded(3)).exp()
    torch.testing.assert_close(mixed.sum(-1), torch.ones(20, 10))
    both = outputs.softmax(-1)[chosen]
    assert (mixed >= both.amin(1) - 1e-5).all()
    assert (mixed <= both.amax(1) + 1e-5).all()
    alone = mixture(outputs, chosen[:, :1], seeded(3))
    torch.testing.assert_close(alone, outputs.log_softmax(-1)[chosen[:, 0]])


def test_networks_come_to_behave_like_their_mixture_and_keep_their_places() -> None:
    encoder, network, spec, values = made("digits_cnn", count=6)
    run = Population(network, spec, engine="batched", workers=1)
    inputs = encoder.queries
    anchors = run.outputs_no_grad(values, inputs)
    strangers = values[torch.tensor([3, 4, 5, 0])] + 0.05 * torch.randn(4, spec.params, generator=seeded())
    config = RefineConfig(steps=30, batch=32)
    done = imitate(free_chart(strangers), run, anchors, inputs, seeded(5), config=config)
    targets = mixture(anchors, parents_of(4, 6, seeded(5)), seeded(5))
    assert done.losses[-1] < 0.5 * done.losses[0]
    assert distance(run.outputs_no_grad(done.weights, inputs), targets).shape == (4,)
    moved = (done.weights - strangers).norm(dim=1)
    apart = torch.cdist(strangers, strangers).fill_diagonal_(torch.inf).amin(1)
    assert (moved < apart).all()


def test_imitations_work_better_than_the_noise_they_start_from() -> None:
    encoder, network, spec, values = made("digits_cnn", count=6)
    run = Population(network, spec, engine="batched", workers=1)
    inputs, config = encoder.queries, RefineConfig(steps=30, batch=32)
    settings = {"sigma": 0.4, "parents": 2}
    ours = imitations(values, spec, run, inputs, 5, seeded(1), config=config, **settings)
    still = imitations(values, spec, run, inputs, 5, seeded(1), config=config.replace(lr=1e-9), **settings)
    ensemble = run.outputs_no_grad(values, inputs).softmax(-1).mean(0)

    def gap(weights: torch.Tensor) -> float:
        return float((run.outputs_no_grad(weights, inputs).softmax(-1) - ensemble).square().mean())

    assert gap(ours) < gap(still)
    assert torch.cdist(ours, values).amin(1).min() > 0.1 * values.norm(dim=1).mean()


def test_fresh_starts_know_nothing_of_the_anchors_weights() -> None:
    encoder, network, spec, values = made("digits_cnn", count=4)
    run = Population(network, spec, engine="batched", workers=1)
    still = RefineConfig(steps=1, batch=32, lr=1e-9)
    first, second = (
        imitations(rows, spec, run, encoder.queries, 3, seeded(1), parents=2, config=still)
        for rows in (values, 9 * values)
    )
    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)
    assert not torch.equal(first, imitations(values, spec, run, encoder.queries, 3, seeded(2), config=still))


def test_known_outputs_of_anchors_are_not_computed_again() -> None:
    encoder, network, spec, values = made("digits_cnn", count=4)
    run = Population(network, spec, engine="batched", workers=1)
    inputs, settings = encoder.queries, {"parents": 2, "config": RefineConfig(steps=2, batch=32)}
    outputs = run.outputs_no_grad(values, inputs)
    plain = imitations(values, spec, run, inputs, 3, seeded(1), **settings)
    assert torch.equal(
        imitations(values, spec, run, inputs, 3, seeded(1), **settings, outputs=outputs), plain
    )
    other = imitations(values, spec, run, inputs, 3, seeded(1), **settings, outputs=outputs.flip(1))
    assert not torch.equal(other, plain)


def test_a_wider_pool_begins_with_the_images_and_goes_on_with_blends_of_moved_ones() -> None:
    images = torch.zeros(2, 1, 6, 6)
    images[0, 0, 2, 3], images[1, 0, 3, 2] = 1.0, 2.0
    pool = wider_pool(images, 40, seeded(3))
    assert torch.equal(pool[:2], images)
    assert torch.equal(wider_pool(images, 40, seeded(3)), pool)
    made_up = pool[2:].flatten(1)
    assert (made_up.amax(1) <= 2).all()
    assert (made_up.count_nonzero(1) <= 2).all()
    places = {tuple(place) for place in pool[2:, 0].nonzero()[:, 1:].tolist()}
    assert places <= {(row, column) for row in range(1, 5) for column in range(1, 5)}
    assert len(places) > 9  # the two places alone, if nothing moved
    still = wider_pool(images, 40, seeded(3), shift=0)[2:, 0].nonzero()[:, 1:]
    assert {tuple(place) for place in still.tolist()} == {(2, 3), (3, 2)}
    assert torch.equal(wider_pool(images, 1, seeded()), images[:1])
    with pytest.raises(ConfigError, match="not by -1"):
        wider_pool(images, 5, seeded(), shift=-1)
