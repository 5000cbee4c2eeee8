"""Every encoder of the comparison has the number of parameters it was published with."""

from pathlib import Path

import pytest
import torch

from weightatlas.encoders.heads import PropertyHead
from weightatlas.evaluate.protocols.inr_methods import METHODS
from weightatlas.evaluate.protocols.inr_stage import SignalStage
from weightatlas.evaluate.protocols.inr_training import TrainingConfig, training_of
from weightatlas.evaluate.protocols.published_inr import PUBLISHED
from weightatlas.networks import create_network
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import batch_of

SIZES = {record.method: record.value for record in PUBLISHED if record.metric == "parameters"}


@pytest.fixture(scope="module")
def there() -> SignalStage:
    spec = spec_of(create_network("siren", coordinates=1, hidden=[32, 32]), (1,))
    batch = batch_of(torch.zeros(2, spec.params), spec, frequency=torch.ones(2))
    return SignalStage("paper", "sines", {"train": batch}, Path(), torch.device("cpu"), "frequency")


def test_every_published_encoder_is_compared():
    assert set(SIZES) <= set(METHODS)
    assert len(SIZES) == 9


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_the_published_ones(name: str, there: SignalStage):
    encoder, tuning = training_of(there, name, 0, TrainingConfig(passes=1, batch=2))
    width = encoder.eval().embed(there.parts["train"]).shape[1]
    head = PropertyHead(width, 1, tuning.head)
    count = sum(p.numel() for module in (encoder, head) for p in module.parameters())
    assert count == pytest.approx(SIZES[name], rel=0.1)
