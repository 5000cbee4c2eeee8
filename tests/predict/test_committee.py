"""The committee: an average of its members, better than none, the same after saving."""

from pathlib import Path

import numpy as np
import pytest
import torch

from weightatlas.errors import DataError
from weightatlas.predict import PropertyPredictor, committee
from weightatlas.predict.committee import fit_committee
from weightatlas.predict.metrics import r2
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import Batch, batch_of


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committee, "TREES", 40)
    monkeypatch.setattr(committee, "ROUNDS", 60)


def table(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x, torch.stack([x[:, 0].sin() + x[:, 1] ** 2, x[:, 2]], dim=1)


def test_it_averages_its_members_and_learns_every_target() -> None:
    fitted = fit_committee(*table(200, 0))
    x, y = table(100, 1)
    predicted = fitted.predict(x)
    by_hand = np.mean([member.predict(x.numpy()) for member in fitted.members[0]], axis=0)
    np.testing.assert_allclose(predicted[:, 0].numpy(), by_hand)
    assert r2(predicted[:, 0], y[:, 0]) > 0.6
    assert r2(predicted[:, 1], y[:, 1]) > 0.6


def test_far_from_the_training_networks_answers_stay_bounded() -> None:
    x, y = table(200, 0)
    fitted = fit_committee(x, y)
    far = fitted.predict(1e6 * x)
    assert float(far.max()) < float(y.max()) + 1
    assert float(far.min()) > float(y.min()) - 1


def test_tables_that_do_not_fit_are_refused() -> None:
    fitted = fit_committee(*table(30, 0))
    with pytest.raises(DataError, match="6 features, these networks have 5"):
        fitted.predict(torch.zeros(2, 5))
    with pytest.raises(DataError, match="at least 2"):
        fit_committee(*table(1, 0))


def networks(count: int, seed: int) -> Batch:
    spec = spec_of(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)), (3,))
    values = torch.randn(count, spec.params, generator=torch.Generator().manual_seed(seed))
    return batch_of(values, spec, size=values[:, :12].std(1))


@pytest.mark.parametrize("source", ["deep_statistics", "pooled_statistics"])
def test_a_saved_predictor_gives_the_same_numbers(source: str, tmp_path: Path) -> None:
    predictor = PropertyPredictor(source, "committee").fit(networks(80, 0), "size", networks(30, 1))
    predictor.save(tmp_path)
    again = PropertyPredictor.load(tmp_path)
    test = networks(40, 2)
    assert torch.equal(again.predict(test), predictor.predict(test))
    assert predictor.score(test) > 0.5
