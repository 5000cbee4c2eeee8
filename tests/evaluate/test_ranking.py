"""Choosing by prediction costs nothing when the order is right."""

import pytest
import torch

from weightatlas.errors import DataError
from weightatlas.evaluate.ranking import rank


def test_right_order_wrong_scale() -> None:
    true = torch.rand(40)
    found = rank(3 * true - 1, true)
    assert found.kendall == pytest.approx(1)
    assert found.regret == 0
    assert found.overlap == 1
    assert found.top == 4
    assert found.r2 < 1


def test_reversed_order() -> None:
    true = torch.linspace(0, 1, 20)
    found = rank(-true, true)
    assert found.kendall == pytest.approx(-1)
    assert found.regret == pytest.approx(1)
    assert found.overlap == 0


def test_records_and_mistakes() -> None:
    rows = rank(torch.rand(9), torch.rand(9)).records("SANE", "accuracy", bench="b", tier="t", zoo="z")
    assert [row.metric for row in rows] == ["accuracy R2", "accuracy Kendall tau", "accuracy MAE"]
    with pytest.raises(DataError, match=r"Test_acc is 0\.5 for all"):
        rank(torch.rand(4), torch.full((4,), 0.5), "test_acc")
    with pytest.raises(DataError, match="not at 0"):
        rank(torch.rand(4), torch.rand(4), share=0)
