"""Generated sets stand beside their baselines, judged the same way."""

import pytest
import torch

from tests.evaluate.small import SPEC, exam, networks, permuted
from weightatlas.errors import DataError
from weightatlas.evaluate.diversity import surroundings
from weightatlas.evaluate.generation import average, judge_generated, trivial_sets


def test_averaging_is_the_mean_of_the_parents() -> None:
    anchors = networks(5)
    chosen = torch.tensor([[0, 1], [3, 4]])
    torch.testing.assert_close(average(anchors, chosen), anchors[chosen].mean(1))


def test_baselines_of_copies_are_copies() -> None:
    generator = torch.Generator().manual_seed(0)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    anchors = torch.cat([networks(1), permuted(networks(1), order)])
    sets = trivial_sets(anchors, 6, generator, SPEC, parents=2, sigmas=(0.0,))
    assert list(sets) == [
        "anchors",
        "averaged anchors",
        "averaged anchors, aligned",
        "noise 0 around anchors",
    ]
    torch.testing.assert_close(sets["averaged anchors, aligned"], networks(1).expand(6, -1))
    assert (sets["averaged anchors"] - networks(1)).norm(dim=1).min() > 0.1
    around = torch.cdist(sets["noise 0 around anchors"], anchors).min(1).values
    assert around.max() < 1e-5


def test_judgement_tells_good_from_bad_and_new_from_copied() -> None:
    train = networks(20, seed=1)
    sets = {"copies": train[:5], "nonsense": torch.randn(5, 51), "teacher": networks(5, seed=4, noise=0.05)}
    around = surroundings(train, SPEC)
    copies, nonsense, teacher = judge_generated(sets, exam(), train, around, baselines=("copies",))
    assert copies.kind == "baseline"
    assert teacher.kind == "ours"
    assert teacher.accuracy.mean() > 0.8 > nonsense.accuracy.mean() + 0.2
    assert copies.diversity.nearest.max() < 1e-4
    torch.testing.assert_close(copies.neighbor_accuracy, copies.accuracy)
    assert nonsense.diversity.nearest.min() > 1
    assert teacher.diversity.weights < copies.diversity.weights
    records = teacher.records(bench="generate", tier="smoke", zoo="digits", seeds=(0,))
    assert {"accuracy", "weight diversity", "nearest training network", "disagreement"} <= {
        record.metric for record in records
    }


def test_mistakes_are_named() -> None:
    train = networks(5)
    around = surroundings(train)
    with pytest.raises(DataError, match="'one' made 1 networks"):
        judge_generated({"one": train[:1]}, exam(), train, around)
    with pytest.raises(DataError, match="at least 2 anchors"):
        trivial_sets(train[:1], 3, torch.Generator(), SPEC)
