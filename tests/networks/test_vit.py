"""The small vision transformer: what it computes, its symmetries, and populations of it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from weightatlas.networks import create_network
from weightatlas.population.engines import engines
from weightatlas.population.forward import Population
from weightatlas.population.initialize import initialize
from weightatlas.population.operations import NoProgram
from weightatlas.population.train import TrainConfig, train
from weightatlas.symmetry.verify import spec_of

SMALL = {"image_size": 8, "dim": 8, "heads": 2, "classes": 5}


def test_it_is_attention_over_patches_as_torch_computes_it() -> None:
    network = create_network("vit", **SMALL, depth=1)
    block, x = network.blocks[0], torch.randn(3, 1, 8, 8)
    network.position.data.normal_()
    tokens = (
        torch.cat([network.token.expand(3, -1, -1), network.patches(x).flatten(2).mT], 1) + network.position
    )
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    own = {"in_proj_weight": block.qkv.weight, "in_proj_bias": block.qkv.bias}
    attention.load_state_dict({**own, "out_proj.weight": block.out.weight, "out_proj.bias": block.out.bias})
    inner = block.norm1(tokens)
    tokens = tokens + attention(inner, inner, inner, need_weights=False)[0]
    tokens = tokens + block.down(F.gelu(block.up(block.norm2(tokens))))
    torch.testing.assert_close(network(x), network.head(network.norm(tokens)[:, 0]))


def test_heads_hidden_neurons_and_the_stream_may_be_permuted() -> None:
    spec = spec_of(create_network("vit", **SMALL), (1, 8, 8))
    assert sorted(spec.groups) == [2, 2, 8, 8, 16, 16]


@pytest.mark.parametrize("name", engines.names())
def test_a_population_equals_its_networks(name: str) -> None:
    network = create_network("vit", **SMALL)
    spec = spec_of(network, (1, 8, 8))
    weights = initialize(spec, torch.arange(3), "default").double()
    x = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    try:
        found = Population(network, spec, engine=name)(weights, x)
    except NoProgram:
        pytest.skip("this engine has no form for attention")
    network = network.double()
    for row, outputs in zip(weights, found, strict=True):
        state = {t.name: row[spec.slices[t.name]].reshape(t.shape) for t in spec.tensors}
        torch.testing.assert_close(torch.func.functional_call(network, state, (x,)), outputs)


def test_training_in_a_population_equals_training_alone() -> None:
    network = create_network("vit", **SMALL, dropout=0.1)
    spec = spec_of(network, (1, 8, 8))
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(64, 1, 8, 8, generator=generator)
    data = {"train": (inputs, (inputs[:, 0, 0, 0] > 0).long())}
    # Not Adam: biases of keys have no gradient, and it would turn rounding errors into steps of full size.
    about = {"init": "default", "optimizer": "sgd", "lr": 0.1, "batch_size": 16, "dropout": 0.1}
    runs = [TrainConfig.build({"key": key, **about}) for key in range(3)]
    found = {e: list(train(network, spec, data, runs, 3, engine=e, workers=1))[-1] for e in ("loop", "vmap")}
    torch.testing.assert_close(found["vmap"].weights, found["loop"].weights, rtol=1e-3, atol=1e-4)
    fresh = next(iter(train(network, spec, data, runs, 0, [0], engine="vmap", workers=1)))
    assert (found["vmap"].metrics["train_loss"] < fresh.metrics["train_loss"]).all()
