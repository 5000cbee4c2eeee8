"""Grades: honest coverage at home, wider farther out, none for strangers."""

from functools import lru_cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from weightatlas.encoders.io import create_encoder
from weightatlas.errors import DataError, FileError
from weightatlas.predict import PropertyPredictor
from weightatlas.predict.grades import Grader
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import Batch, Weights, batch_of
from weightatlas.weights.spec import NetworkSpec


def network(width: int = 5) -> nn.Module:
    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 3))


@lru_cache
def spec(width: int = 5) -> NetworkSpec:
    return spec_of(network(width), (4,))


def networks(count: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Batch:
    """The property is the size of the first layer, seen with noise."""
    generator = torch.Generator().manual_seed(seed)
    size = 0.5 + torch.rand(count, 1, generator=generator)
    values = scale * size * torch.randn(count, spec().params, generator=generator) + shift
    noise = 0.03 * torch.randn(count, generator=generator)
    return batch_of(values, spec(), acc=values[:, :20].std(1) + noise)


@pytest.fixture(scope="module", params=["layer_statistics", "deep_sets"])
def grader(request: pytest.FixtureRequest) -> Grader:
    torch.manual_seed(0)
    encoder = create_encoder("deep_sets", width=16, layers=2).eval()
    encoder.adapt(networks(300, 0))
    predictor = PropertyPredictor(encoder if request.param == "deep_sets" else request.param)
    predictor.fit(networks(300, 0), "acc", networks(500, 1))
    return Grader(predictor).fit(networks(300, 0), networks(500, 1))


def truth(batch: Batch) -> Tensor:
    return batch.labels["acc"].double()[:, None]


def test_coverage_at_home_is_what_was_asked(grader: Grader) -> None:
    home = networks(1000, 2)
    for level in (0.8, 0.9):
        report = grader.grade(home, level).coverage(truth(home))
        assert abs(report["coverage"] - level) < 0.06
        assert report["abstained"] < 0.06


def test_strangers_get_wide_intervals_or_none(grader: Grader) -> None:
    for strange in (networks(300, 3, scale=4.0), networks(300, 4, shift=1.5)):
        assert grader.grade(strange).coverage(truth(strange))["abstained"] > 0.9
    away = grader.grade(networks(300, 5, scale=1.6))
    given = ~away.abstained
    width = (away.high - away.low)[given, 0]
    assert len(width) > 10
    torch.testing.assert_close(width / width.min(), away.distance[given].clamp_min(1))
    assert float(width.max()) > 1.2 * float(width.min())


def test_networks_with_other_answers_are_turned_away_once_they_are_run() -> None:
    """Same kind of weights, other function: only running the networks tells."""
    torch.manual_seed(0)
    teacher = torch.randn(1, spec().params, generator=torch.Generator().manual_seed(8))
    foreign = torch.randn(1, spec().params, generator=torch.Generator().manual_seed(9))

    def near(center: Tensor, count: int, seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        values = center + 0.3 * torch.randn(count, spec().params, generator=generator)
        return batch_of(values, spec(), acc=values[:, 0] + 0.1 * torch.randn(count, generator=generator))

    train, held = near(teacher, 300, 0), near(teacher, 150, 1)
    predictor = PropertyPredictor("layer_statistics").fit(train, "acc", held)
    grader = Grader(predictor).bind(network(), torch.randn(500, 4)).fit(train, held)
    home = near(teacher, 300, 2)
    assert grader.grade(home).coverage(truth(home))["abstained"] < 0.06
    assert grader.grade(near(foreign, 100, 3)).coverage(truth(near(foreign, 100, 3)))["abstained"] > 0.95
    with pytest.raises(DataError, match="no inputs"):
        Grader(predictor).bind(network())


def test_unknown_architectures_and_broken_networks_are_turned_away(grader: Grader) -> None:
    other = spec(7)
    broken = networks(2, 6).groups[0].values.clone()
    broken[0, 3] = float("nan")
    groups = (
        Weights(torch.randn(2, other.params), other, torch.tensor([0, 3])),
        Weights(broken, spec(), torch.tensor([1, 2])),
    )
    grades = grader.grade(Batch(groups))
    assert grades.abstained[[0, 1, 3]].tolist() == [True] * 3
    assert bool(torch.isnan(grades.predicted[0]).all())
    assert bool(torch.isinf(grades.high[3]).all())
    assert float(grades.familiar[0]) <= 0.02


def test_a_saved_grader_grades_alike(grader: Grader, tmp_path: Path) -> None:
    grader.save(tmp_path)
    again = Grader.load(tmp_path, grader.predictor)
    batch = networks(20, 7)
    one, other = grader.grade(batch), again.grade(batch)
    assert torch.equal(one.distance, other.distance)
    assert torch.equal(one.high, other.high)
    with pytest.raises(FileError, match="no readable grader"):
        Grader.load(tmp_path / "none", grader.predictor)


def test_an_unfitted_grader_says_so(grader: Grader) -> None:
    with pytest.raises(DataError, match="knows no networks"):
        Grader(grader.predictor).grade(networks(2, 0))
