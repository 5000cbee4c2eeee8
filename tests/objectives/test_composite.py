"""Eq. 3 as weights of terms; the first value of a term as its unit, saved with the loss."""

import pytest
import torch

from weightatlas.encoders.base import Encoded
from weightatlas.errors import ConfigError
from weightatlas.objectives import Composite, LossConfig, Objective, Step, build_loss, recipe


class Given(Objective):
    """A term whose value the test sets."""

    name = "given"

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, step: Step) -> dict[str, torch.Tensor]:
        return {self.name: torch.tensor(self.value)}


class Other(Given):
    name = "other"


@pytest.mark.parametrize(
    ("row", "weights"),
    [
        ("S", {"structural": 1.0}),
        ("CS", {"contrastive": 0.05, "structural": 0.95}),
        ("B", {"behavioral": 1.0}),
        ("CB", {"contrastive": 0.05, "behavioral": 0.95}),
        ("SB", {"structural": 0.1, "behavioral": 0.9}),
        ("CSB", {"contrastive": 0.05, "structural": 0.095, "behavioral": 0.855}),
    ],
)
def test_rows_of_the_paper(row: str, weights: dict[str, float]):
    assert recipe(row).weights == pytest.approx(weights)
    assert list(build_loss(recipe(row), 4).terms) == list(weights)


def step() -> Step:
    from tests.encoders import small
    from weightatlas.encoders.io import create_encoder
    from weightatlas.weights.batch import weights_of

    encoded = Encoded(torch.zeros(2, 1, 1), torch.ones(2, 1, dtype=torch.bool), torch.zeros(2, 1))
    weights = weights_of(small.values(2), small.spec())
    return Step(weights=weights, encoder=create_encoder("pca", small.spec()), encoded=encoded)


def test_first_values_are_the_units_and_travel_with_the_state():
    given, other = Given(4.0), Other(0.5)
    loss = Composite({"given": (given, 0.25), "other": (other, 0.75)}).train()
    seen = step()
    assert float(loss(seen)["loss"]) == pytest.approx(1.0)
    given.value, other.value = 2.0, 0.25
    result = loss(seen)
    assert float(result["loss"]) == pytest.approx(0.5)
    assert float(result["given"]) == 2.0
    again = Composite({"given": (Given(8.0), 0.25), "other": (Other(0.5), 0.75)}).train()
    again.load_state_dict(loss.state_dict())
    assert float(again(seen)["loss"]) == pytest.approx(0.25 * 2 + 0.75 * 1)


def test_two_terms_of_one_kind_count_each_for_itself():
    loss = Composite({"near": (Given(1.0), 1.0), "far": (Given(10.0), 1.0)}, "none")
    found = loss(step())
    assert float(found["loss"]) == 11.0
    assert (float(found["near"]), float(found["far"])) == (1.0, 10.0)


def test_evaluation_does_not_fix_units_and_none_has_none():
    seen = step()
    loss = Composite({"given": (Given(4.0), 1.0)}).eval()
    loss(seen)
    assert torch.isnan(loss.first).all()
    assert float(Composite({"given": (Given(4.0), 0.5)}, "none").train()(seen)["loss"]) == 2.0


def test_wrong_recipes_are_refused():
    with pytest.raises(ConfigError, match="no recipe 'CBS'"):
        recipe("CBS")
    with pytest.raises(ConfigError, match="gamma"):
        LossConfig.build({"gamma": 1.5})
    with pytest.raises(ConfigError, match="no terms"):
        Composite({})
