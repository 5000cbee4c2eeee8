"""Encoder and head trained together: they learn, mix architectures, resume and reload."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.encoders import small
from weightatlas.config import Config
from weightatlas.encoders.base import Encoded, Encoder, encoders
from weightatlas.encoders.heads import HeadConfig
from weightatlas.encoders.io import create_encoder
from weightatlas.errors import ConfigError, DataError
from weightatlas.fit import FitConfig, fit
from weightatlas.predict import PropertyPredictor
from weightatlas.predict.finetune import Finetuned, Finetuning, finetune, supervised, targets_of
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import Batch, Weights


class ScalarsConfig(Config):
    """Settings of the test's encoder."""

    dim: int = 16


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(encoders, "_entries", {**encoders._entries, "scalars": Scalars})


class Scalars(Encoder):
    """Mean of a perceptron over all weights: any layout, no order, no decoder."""

    Settings, accepts, name = ScalarsConfig, "any", "scalars"

    def __init__(self, config: ScalarsConfig, spec: object = None) -> None:
        super().__init__(config)
        self.each = nn.Sequential(nn.Linear(1, config.dim), nn.ReLU(), nn.Linear(config.dim, config.dim))

    def encode(self, weights: Weights) -> Encoded:
        codes = self.each(weights.values[..., None]).mean(1, keepdim=True)
        return Encoded(codes, torch.ones(codes.shape[:2], dtype=torch.bool), codes[:, 0])


class Ordered(Scalars):
    """A perceptron over the flat vector, which sees the order of neurons."""

    def __init__(self, config: ScalarsConfig) -> None:
        super().__init__(config)
        self.each = nn.Sequential(nn.Linear(small.spec().params, 32), nn.ReLU(), nn.Linear(32, config.dim))

    def encode(self, weights: Weights) -> Encoded:
        codes = self.each(weights.values)[:, None]
        return Encoded(codes, torch.ones(codes.shape[:2], dtype=torch.bool), codes[:, 0])


class Normed(Scalars):
    """Norms its embeddings over the batch."""

    def __init__(self, config: ScalarsConfig) -> None:
        super().__init__(config)
        self.norm = nn.BatchNorm1d(config.dim)

    def encode(self, weights: Weights) -> Encoded:
        codes = self.norm(self.each(weights.values[..., None]).mean(1))[:, None]
        return Encoded(codes, torch.ones(codes.shape[:2], dtype=torch.bool), codes[:, 0])


def spread(values: Tensor) -> Tensor:
    return values.square().mean(1)


def batch(count: int = 48, seed: int = 0, mixed: bool = True) -> Batch:
    """Two architectures; the property is how large the weights are."""
    generator = torch.Generator().manual_seed(seed)
    other = spec_of(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), (3,))
    specs = (small.spec(), other) if mixed else (small.spec(),)
    order = torch.randperm(count * len(specs), generator=generator)
    groups, size = [], torch.empty(len(order))
    for place, spec in enumerate(specs):
        scale = 0.2 + torch.rand(count, 1, generator=generator)
        rows = order[place * count : (place + 1) * count]
        groups.append(Weights(scale * torch.randn(count, spec.params, generator=generator), spec, rows))
        size[rows] = spread(groups[-1].values)
    return Batch(tuple(groups), {"size": size, "size_acc": size / 4, "large": (size > 0.5).float()})


def tuning(**settings: object) -> Finetuning:
    training = FitConfig(passes=40, batch=32, lr=1e-2, weight_decay=0, device="cpu")
    return Finetuning(head=HeadConfig(hidden=(16,)), fit=training).replace(**settings)


def encoder(name: str = "scalars") -> Encoder:
    return create_encoder(name, dim=16)


def test_it_learns_what_a_fixed_encoder_does_not_show(tmp_path: Path):
    predictor = PropertyPredictor(encoder(), finetune=tuning())
    predictor.fit(batch(), "size", batch(16, seed=1))
    assert predictor.score(batch(seed=2)) > 0.8
    assert predictor.predict(batch(seed=2)).shape == (96,)
    low, high = predictor.interval(batch(seed=2), level=0.8)
    assert bool((low < high).all())
    assert isinstance(predictor.encoder, Scalars)
    before, after = encoder().state_dict(), predictor.encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    predictor.save(tmp_path)
    loaded = PropertyPredictor.load(tmp_path)
    assert torch.equal(loaded.predict(batch(seed=2)), predictor.predict(batch(seed=2)))
    assert torch.equal(loaded.interval(batch(seed=2), level=0.8)[1], high)


def test_several_kinds_at_once():
    names = ("size_acc", "large", "size")
    predictor = PropertyPredictor(encoder(), finetune=tuning(kinds={"large": "class"}))
    predictor.fit(batch(), names, batch(16, seed=1))
    predicted, true = predictor.predict(batch(seed=2)), batch(seed=2).labels
    assert bool(((predicted[:, 0] > 0) & (predicted[:, 0] < 1)).all())
    assert float((predicted[:, 1] == true["large"]).double().mean()) > 0.85
    assert isinstance(predictor.fitted_, Finetuned)
    assert {"val/kendall", "val/accuracy", "property/large"} <= set(predictor.fitted_.history[-1])


def test_the_best_validated_state_is_kept():
    found = finetune(encoder(), batch(), ["size"], tuning(), batch(16, seed=1))
    best = max(line["val/kendall"] for line in found.history)
    held = batch(16, seed=1)
    property, head = found.property, found.loss.head
    assert head is not None
    with torch.no_grad():
        scored = property.scores(head(found.encoder.embed(held)), held.labels)
    assert scored["kendall"] == pytest.approx(best)
    assert best >= found.history[-1]["val/kendall"]


def test_encoders_with_norms_over_the_batch_can_be_trained():
    config = tuning(fit=tuning().fit.replace(passes=1))
    found = finetune(Normed(ScalarsConfig()), batch(mixed=False), ["size"], config, batch(16, 1, False))
    assert bool(torch.isfinite(found.predict(batch(mixed=False))).all())


def test_patience_stops_early():
    still = tuning().fit.replace(patience=2, lr=1e-12, passes=30)
    found = finetune(encoder(), batch(), ["size"], tuning(fit=still), batch(16, seed=1))
    assert len(found.history) < 10
    assert found.finished


def test_a_stopped_run_continues_to_the_same_bits(tmp_path: Path):
    settings = tuning(fit=tuning().fit.replace(passes=3), invariance=0.5)
    whole = finetune(encoder(), batch(), ["size"], settings, batch(16, seed=1), tmp_path / "whole")
    short = settings.replace(fit=settings.fit.replace(max_seconds=1e-9))
    parts = None
    for _ in range(30):
        parts = finetune(encoder(), batch(), ["size"], short, batch(16, seed=1), tmp_path / "parts")
        if parts.finished:
            break
    assert parts is not None
    assert parts.finished
    assert torch.equal(parts.predict(batch(seed=2)), whole.predict(batch(seed=2)))


def test_the_regularizer_makes_predictions_invariant():
    gaps = []
    for weight in (0.0, 30.0):
        config = tuning(invariance=weight, select="none", fit=tuning().fit.replace(passes=20))
        torch.manual_seed(1)
        found = finetune(Ordered(ScalarsConfig()), batch(mixed=False), ["size"], config, batch(16, 1, False))
        gaps.append(permutation_gap(found, batch(seed=2, mixed=False)))
    assert gaps[1] < 0.3 * gaps[0]


def permutation_gap(found, networks: Batch) -> float:
    from weightatlas.symmetry.permutation import permute, sample

    group = networks.groups[0]
    moved = permute(group.values, sample(group.spec, len(group)), group.spec)
    other = Batch((Weights(moved, group.spec, group.rows),))
    return float((found.predict(networks) - found.predict(other)).abs().mean())


def test_augmentation_shows_permuted_networks(monkeypatch: pytest.MonkeyPatch):
    seen = []
    original = Scalars.encode

    def spy(self: Scalars, weights: Weights) -> Encoded:
        if self.training:
            seen.append(weights.values.clone())
        return original(self, weights)

    monkeypatch.setattr(Scalars, "encode", spy)
    for augment in (False, True):
        seen.clear()
        config = tuning(augment=augment, fit=tuning().fit.replace(passes=1, validate_every=0))
        finetune(encoder(), batch(mixed=False), ["size"], config)
        known = {tuple(row.tolist()) for row in batch(mixed=False).groups[0].values}
        same = [tuple(row.tolist()) in known for row in torch.cat(seen)]
        assert all(same) is not augment


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="cannot be finetuned"):
        PropertyPredictor("weights", finetune=True).fit(batch(), "size")
    with pytest.raises(DataError, match="no property 'sise'"):
        PropertyPredictor(encoder(), finetune=True).fit(batch(), "sise")
    loss = supervised(targets_of(["size"], torch.rand(4, 1), {}), 16, tuning())
    with pytest.raises(ConfigError, match="validation networks lack the label size"):
        fit(encoder(), batch(), tuning().fit, validation=Batch(batch().groups), loss=loss)
    with pytest.raises(DataError, match="whole numbers"):
        finetune(encoder(), batch(), ["size"], tuning(kinds={"size": "class"}))
