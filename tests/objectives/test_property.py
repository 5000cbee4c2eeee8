"""Supervised terms equal their formulas, in their own units, and see the first views only."""

import pytest
import torch
from torch.nn import functional as F

from tests.encoders import small
from weightatlas.encoders.base import Encoded
from weightatlas.encoders.io import create_encoder
from weightatlas.errors import ConfigError
from weightatlas.objectives import Property, Step, Target
from weightatlas.weights.batch import weights_of

TARGETS = (
    Target(name="acc", kind="accuracy"),
    Target(name="frequency"),
    Target(name="label", kind="class", classes=3),
)


def labels(count: int = 6) -> dict[str, torch.Tensor]:
    return {
        "acc": torch.rand(count),
        "frequency": 5 + 2 * torch.randn(count),
        "label": torch.arange(count) % 3,
    }


def step(predictions: torch.Tensor | None, known: dict[str, torch.Tensor], views: int = 1) -> Step:
    count = 1 if predictions is None else len(predictions)
    encoded = Encoded(torch.zeros(count, 1, 1), torch.ones(count, 1, dtype=torch.bool), torch.zeros(count, 1))
    weights = weights_of(small.values(count), small.spec())
    encoder = create_encoder("pca", small.spec())
    return Step(weights, encoder, encoded, views=views, labels=known, predictions=predictions)


def adapted(known: dict[str, torch.Tensor]) -> Property:
    term = Property(TARGETS)
    term.adapt(torch.stack([known[name].double() for name in term.labels], 1))
    return term


def test_the_loss_is_the_mean_of_three_formulas():
    known, predictions = labels(), torch.randn(6, 5)
    term = adapted(known)
    found = term(step(predictions, known))
    frequency = known["frequency"]
    standard = (frequency - frequency.mean()) / frequency.std(correction=0)
    expected = [
        -(
            known["acc"] * F.logsigmoid(predictions[:, 0])
            + (1 - known["acc"]) * F.logsigmoid(-predictions[:, 0])
        ),
        (predictions[:, 1] - standard).square(),
        -predictions[:, 2:].log_softmax(1)[torch.arange(6), known["label"]],
    ]
    each = torch.stack([value.mean() for value in expected])
    torch.testing.assert_close(found["property"], each.mean())
    torch.testing.assert_close(found["property/frequency"], each[1])


def test_only_first_views_count():
    known, predictions = labels(), torch.randn(12, 5)
    term = adapted(known)
    whole = term(step(predictions, known, views=2))["property"]
    torch.testing.assert_close(whole, term(step(predictions[:6], known))["property"])
    assert not torch.allclose(whole, term(step(predictions[6:], known))["property"])


def test_answers_are_in_units_of_the_properties():
    known = labels()
    answer = adapted(known).answer(torch.zeros(6, 5))
    torch.testing.assert_close(answer[:, 0], torch.full((6,), 0.5, dtype=torch.float64))
    mean = known["frequency"].double().mean().expand(6)
    torch.testing.assert_close(answer[:, 1], mean, rtol=1e-6, atol=1e-6)
    assert set(answer[:, 2].tolist()) == {0.0}


def test_scores_are_over_all_networks():
    known = labels()
    logits = torch.zeros(6, 5)
    logits[:, 0], logits[:, 1] = known["acc"], -known["frequency"]
    logits[torch.arange(6), 2 + known["label"]] = 1
    assert adapted(known).scores(logits, known) == {"kendall": 0.0, "accuracy": 1.0}
    assert Property(TARGETS[:1]).scores(torch.zeros(6, 1), known) == {"kendall": 0.0}


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="no property 'acc'"):
        adapted(labels())(step(torch.zeros(6, 5), {}))
    with pytest.raises(ConfigError, match="needs a head"):
        adapted(labels())(step(None, labels()))
    with pytest.raises(ConfigError, match="give `classes`"):
        Target.build({"name": "label", "kind": "class"})
    with pytest.raises(ConfigError, match="at least one property"):
        Property(())
