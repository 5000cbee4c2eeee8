"""Networks of varied architecture: shortcuts, draws, symmetries, populations."""

import pytest
import torch

from weightatlas.errors import ConfigError
from weightatlas.networks import create_network
from weightatlas.networks.cnn_park import ParkDraw
from weightatlas.networks.registry import ACTIVATIONS
from weightatlas.population.forward import Population
from weightatlas.population.initialize import initialize
from weightatlas.population.train import TrainConfig, train
from weightatlas.symmetry.verify import spec_of

VARIED = {"channels_in": 1, "image_size": 8, "classes": 5, "widths": (4, 6, 3, 6), "kernels": (3, 5, 3, 3)}
VARIED |= {"residual": (-1, -1, 0, 1), "activation": ["gelu", "tanh", "none", "silu"]}


def test_shortcuts_add_the_channels_both_have() -> None:
    network = create_network("cnn_park", **VARIED)
    x = torch.randn(2, 1, 8, 8)
    layers = network.layers
    first = torch.nn.functional.gelu(layers[0](x))
    second = torch.tanh(layers[1](first))
    third = layers[2](second) + first[:, :3]
    fourth = torch.nn.functional.silu(layers[3](third) + second)
    torch.testing.assert_close(network(x), network.fc(fourth.mean((2, 3))))
    wider = create_network("cnn_park", **{**VARIED, "widths": (4, 6, 6, 6), "activation": "relu"})
    first = torch.relu(wider.layers[0](x))
    third = wider.layers[2](torch.relu(wider.layers[1](first)))
    third = torch.cat([third[:, :4] + first, third[:, 4:]], 1)
    fourth = wider.layers[3](torch.relu(third)) + torch.relu(wider.layers[1](first))
    torch.testing.assert_close(wider(x), wider.fc(torch.relu(fourth).mean((2, 3))))


def test_channels_are_permuted_together_where_a_shortcut_joins_them() -> None:
    spec = spec_of(create_network("cnn_park", **VARIED), (1, 8, 8))
    assert sorted(spec.groups) == [
        3,
        6,
    ]  # three of the first layer's four channels are the third's, one is left


def test_draws_have_the_published_ranges_and_grow_without_changing() -> None:
    draws = ParkDraw(draw="cnn_park", count=300).options()
    assert draws[:20] == ParkDraw(draw="cnn_park", count=20).options()
    assert {len(one["widths"]) for one in draws} == set(range(2, 9))
    assert {kernel for one in draws for kernel in one["kernels"]} == {3, 5, 7}
    assert {width for one in draws for width in one["widths"]} == {4, 8, 16, 32, 64}
    assert {name for one in draws for name in one["activation"]} == set(ACTIVATIONS)
    assert len(ACTIVATIONS) == 7
    assert any(source >= 0 for one in draws for source in one["residual"])
    for one in draws[:10]:
        create_network("cnn_park", image_size=8, **one)


def test_a_draw_of_another_family_is_refused() -> None:
    with pytest.raises(ConfigError, match="draw"):
        ParkDraw.build({"draw": "resnets", "count": 2}, where="here")


def test_populations_run_and_train_as_single_networks() -> None:
    network = create_network("cnn_park", **VARIED)
    spec = spec_of(network, (1, 8, 8))
    weights = initialize(spec, torch.arange(3), "default").double()
    x = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    both = [Population(network, spec, engine=name)(weights, x) for name in ("loop", "vmap")]
    torch.testing.assert_close(*both)
    data = {"train": (torch.randn(32, 1, 8, 8), torch.arange(32) % 5)}
    runs = [TrainConfig(key=k, init="default", batch_size=8, lr=3e-3) for k in range(2)]
    found = [list(train(network, spec, data, runs, 2, engine=e, workers=1))[-1] for e in ("loop", "vmap")]
    torch.testing.assert_close(found[0].weights, found[1].weights, rtol=1e-3, atol=1e-4)
