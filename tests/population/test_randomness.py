"""Networks that draw random numbers of their own are refused before they are trained."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.population.small import spec_by_hand, toy_data
from weightatlas.errors import ConfigError
from weightatlas.population.prepare import prepare
from weightatlas.population.randomness import refuse_own_randomness
from weightatlas.population.train import TrainConfig, train


class Functional(nn.Module):
    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self.flat, self.a, self.b, self.rate = nn.Flatten(), nn.Linear(64, 6), nn.Linear(6, 5), rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(F.dropout(torch.relu(self.a(self.flat(x))), self.rate, self.training))


@pytest.mark.parametrize("engine", ["auto", "loop", "vmap"])
def test_training_with_functional_dropout_is_refused_by_place(engine: str) -> None:
    network = Functional()
    state = torch.get_rng_state()
    with pytest.raises(ConfigError) as caught:
        next(
            train(network, spec_by_hand(network), toy_data(), [TrainConfig(batch_size=16)], 1, engine=engine)
        )
    for part in ("in Functional.", "test_randomness.py, line", "self.b(F.dropout(", "nn.Dropout"):
        assert part in str(caught.value)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("layer", "place"),
    [
        (nn.AlphaDropout(0.1), "in layer '1.0' (AlphaDropout)."),
        (nn.RReLU(), "in layer '1.0' (RReLU)."),
        (nn.TransformerEncoderLayer(4, 2, 4, batch_first=True), "in layer '1.0.self_attn'"),
    ],
)
def test_layers_of_torch_are_named(layer: nn.Module, place: str) -> None:
    network = prepare(nn.Sequential(nn.Linear(4, 4), nn.Sequential(layer)), training=True)
    with pytest.raises(ConfigError) as caught:
        refuse_own_randomness(network, torch.randn(3, 5, 4))
    assert place in str(caught.value)
    assert ", line " not in str(caught.value)


def test_what_draws_nothing_passes() -> None:
    dropped = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    for network in (dropped, Functional(rate=0.0)):
        refuse_own_randomness(prepare(network, training=True), torch.randn(1, 1, 8, 8))
