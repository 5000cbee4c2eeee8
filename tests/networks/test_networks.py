"""Architectures: golden parameter counts, output shapes, refusals."""

import pytest
import torch
from torch import fx

from weightatlas.errors import ConfigError
from weightatlas.networks import create_network, input_shape_of, networks

GOLDEN = [
    ("cnn_small", {}, 2464),
    ("cnn_small", {"channels_in": 3}, 2864),
    ("cnn_unterthiner", {}, 4970),
    ("cnn3", {}, 10853),
    ("lenet5", {}, 62006),
    ("digits_cnn", {}, 2758),
    ("mlp", {"image_size": 4, "classes": 4, "hidden": [4]}, 16 * 4 + 4 + 4 * 4 + 4),
]


@pytest.mark.parametrize(("name", "options", "count"), GOLDEN)
def test_parameter_counts(name: str, options: dict, count: int) -> None:
    assert sum(p.numel() for p in create_network(name, **options).parameters()) == count


@pytest.mark.parametrize("name", networks.names())
@pytest.mark.parametrize("options", [{}, {"activation": "gelu", "dropout": 0.2, "classes": 7}])
def test_every_network_runs_and_traces(name: str, options: dict) -> None:
    network = create_network(name, **options).eval()
    inputs = torch.randn(3, *input_shape_of(name, **options))
    outputs = network(inputs)
    assert outputs.shape == (3, options.get("classes", 10))
    assert torch.equal(fx.symbolic_trace(network)(inputs), outputs)


def test_creating_leaves_the_random_stream_alone() -> None:
    before = torch.get_rng_state()
    first = create_network("mlp").state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(v, create_network("mlp").state_dict()[k]) for k, v in first.items())


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("cnn4", {}, "cnn3"),
        ("cnn3", {"activation": "rellu"}, "relu"),
        ("cnn3", {"image_size": 8}, "too small"),
        ("cnn3", {"dropout": 1.0}, "below 1"),
        ("cnn3", {"depth": 2}, "depth"),
    ],
)
def test_bad_options_are_named(name: str, options: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        create_network(name, **options)
