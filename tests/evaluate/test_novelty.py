"""Good and new are counted together, against validation accuracy and the zoo's own spread."""

import pytest
import torch

from weightatlas.errors import DataError
from weightatlas.evaluate.novelty import novelty

ANCHORS = torch.tensor([0.80, 0.90, 0.95])


def test_copies_are_good_but_not_new_and_noise_is_new_but_not_good() -> None:
    copies = novelty(torch.full((4,), 0.9), torch.zeros(4), 2.0, ANCHORS)
    assert (copies.good, copies.fractions[1.0], copies.copies) == (1.0, 0.0, 1.0)
    noise = novelty(torch.full((4,), 0.1), torch.full((4,), 50.0), 2.0, ANCHORS)
    assert (noise.good, noise.fractions[6.0], noise.copies) == (0.0, 0.0, 0.0)


def test_good_is_the_anchors_median_minus_one_point() -> None:
    found = novelty(torch.tensor([0.885, 0.895]), torch.tensor([9.0, 9.0]), 1.0, ANCHORS)
    assert found.threshold == pytest.approx(0.89)
    assert found.good == 0.5


def test_fractions_fall_with_reach_and_use_the_unit() -> None:
    found = novelty(torch.ones(6), torch.tensor([2.0, 4.0, 6.0, 8.0, 10.0, 12.0]), 2.0, ANCHORS)
    assert [round(found.fractions[float(r)] * 6) for r in range(1, 7)] == [6, 5, 4, 3, 2, 1]
    names = {record.metric for record in found.records("x", bench="b", tier="t", zoo="z", seeds=(0,))}
    assert {"good", "copies", "good and new at 1x", "good and new at 6x"} <= names


def test_nothing_to_judge_is_named() -> None:
    with pytest.raises(DataError, match="got 0, 3, 1"):
        novelty(torch.zeros(0), torch.zeros(0), 1.0, ANCHORS)
