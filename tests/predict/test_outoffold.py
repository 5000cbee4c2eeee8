"""Out of fold, nobody is predicted by what knew them or a relative."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.predict.outoffold import Calibration, folds_of, out_of_fold

Table = tuple[Tensor, Tensor]


@dataclass
class Spy:
    """Remembers whom it was fitted and chosen on, and predicts their number."""

    fitted: set[int]
    chosen: set[int]

    def predict(self, features: Tensor) -> Tensor:
        seen = set(features[:, 0].int().tolist())
        assert not seen & (self.fitted | self.chosen)
        return torch.full((len(features), 1), float(len(self.fitted)))


def spy(train: Table, validation: Table | None) -> Spy:
    chosen = set() if validation is None else set(validation[0][:, 0].int().tolist())
    return Spy(set(train[0][:, 0].int().tolist()), chosen)


def table(first: int, count: int) -> Table:
    return torch.arange(first, first + count).double()[:, None], torch.zeros(count, 1)


def test_families_are_dealt_out_evenly() -> None:
    relatives = np.repeat(np.arange(23), 3).astype(str)
    fold = folds_of(relatives, 5).reshape(23, 3)
    assert bool((fold == fold[:, :1]).all())
    assert sorted(torch.bincount(fold[:, 0]).tolist()) == [4, 4, 5, 5, 5]
    assert torch.equal(folds_of(relatives, 5), folds_of(relatives, 5))
    assert set(folds_of(np.array(["a", "b"]), 5).tolist()) == {0, 1}


def test_nobody_is_predicted_by_a_head_that_knew_them() -> None:
    relatives = np.arange(30).astype(str)
    found = out_of_fold(spy, table(0, 20), table(20, 10), relatives)
    assert found is not None
    assert bool(found.known.all())
    assert len(found.heads) == 5
    whole = set.union(*(head.fitted for head in found.heads))
    assert whole == set(range(20))
    assert torch.equal(found.residuals, -found.predicted)


def test_training_networks_of_an_encoder_are_not_predicted() -> None:
    found = out_of_fold(spy, table(0, 20), table(20, 10), np.arange(30).astype(str), fold_train=False)
    assert found is not None
    assert found.known.tolist() == [False] * 20 + [True] * 10
    assert all(head.fitted == set(range(20)) for head in found.heads)
    assert {len(head.chosen) for head in found.heads} == {8}
    assert out_of_fold(spy, table(0, 20), None, np.arange(20).astype(str), fold_train=False) is None


def test_too_few_families_give_nothing() -> None:
    assert out_of_fold(spy, table(0, 6), None, np.array(["a"] * 6)) is None
    assert out_of_fold(spy, table(0, 2), None, np.array(["a", "b"])) is None


@pytest.mark.parametrize("folds", [1, 5])
def test_intervals_are_narrow_where_errors_are_small(folds: int) -> None:
    predicted = torch.linspace(0, 1, 200).double()[:, None]
    signs = torch.tensor([-1.0, 1.0]).repeat(100)[:, None]
    found = Calibration(predicted, predicted + predicted * signs, torch.arange(200) % folds)
    reach = found.reach(torch.tensor([[0.05], [0.9]]), 0.9)[:, 0]
    assert float(reach[0]) < 0.6 * float(reach[1])
    held = found.residuals.abs() <= found.reach(predicted, 0.9)
    assert 0.85 < float(held.double().mean()) < 0.97
    with pytest.raises(DataError, match="at least 9 held-out networks, there are 4"):
        Calibration(predicted[:4], predicted[:4], torch.zeros(4)).reach(predicted, 0.9)
