"""Dynamic neural graph: invariant, any architecture, and a layer sees only what comes before it."""

from typing import Any

import pytest
import torch

from tests.encoders import small
from tests.encoders.laws import STRUCTURES, changes, mixed_equals_alone
from weightatlas.encoders.io import create_encoder
from weightatlas.weights.batch import weights_of

TINY: dict[str, Any] = {"dim": 8, "edges": 8}


@pytest.mark.parametrize("structure", STRUCTURES)
def test_embeddings_ignore_permutations_but_not_wrong_ones(structure: str):
    same, wrong = changes(create_encoder("dng", seed=3, **TINY), structure)
    assert same < 1e-9
    assert wrong > 1e-5


def test_architectures_mix():
    mixed_equals_alone("dng", **TINY)


def test_the_sweep_runs_from_input_to_output():
    encoder = create_encoder("dng", **TINY)
    values = small.values(2).requires_grad_()
    outputs = encoder.encode(weights_of(values, small.spec())).embedding[:, : TINY["dim"]]
    (outputs * torch.randn(TINY["dim"])).sum().backward()  # the plain sum of a normed state is constant
    assert values.grad is not None
    assert bool((values.grad != 0).all())  # every weight reaches the outputs
