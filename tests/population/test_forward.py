"""A population equals a loop over the module, outputs and gradients, with every engine."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch

from tests.population.small import NETWORKS, make, reference
from weightatlas.errors import DataError, SpecError
from weightatlas.population.engines import engines
from weightatlas.population.forward import Population, _grown, fastest
from weightatlas.population.initialize import initialize


def _both(
    name: str, engine: str, shared: bool, dtype: torch.dtype
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Outputs, weight gradients and input gradients: the population's and the loop's."""
    network, spec = make(name)
    weights = (initialize(spec, torch.arange(5), "kaiming_normal").to(dtype)).requires_grad_()
    inputs = torch.randn(*(() if shared else (5,)), 7, 1, 8, 8, dtype=dtype, requires_grad=True)
    cotangent = torch.randn(5, 7, 5, dtype=dtype)
    population = Population(network.to(dtype), spec, engine=engine)
    outputs = population(weights, inputs, shared=shared)
    found = [outputs, *torch.autograd.grad((outputs * cotangent).sum(), [weights, inputs])]
    own = [torch.zeros_like(found[0]), torch.zeros_like(weights), torch.zeros_like(inputs)]
    for i in range(5):
        one = reference(network, spec, weights[i])
        x = (inputs if shared else inputs[i]).detach().requires_grad_()
        y = one(x)
        named = dict(one.named_parameters())
        (y * cotangent[i]).sum().backward()
        own[0][i] = y.detach()
        for tensor in spec.tensors:
            if tensor.trainable:
                own[1][i, spec.slices[tensor.name]] = named[tensor.name].grad.flatten()
        (own[2] if shared else own[2][i]).add_(x.grad)
    trainable = spec.trainable
    found[1], own[1] = found[1][:, trainable], own[1][:, trainable]
    return list(zip(found, own, strict=True))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("engine", engines.names())
@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_loop(name: str, engine: str, shared: bool) -> None:
    for dtype, bound in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        for found, own in _both(name, engine, shared, dtype):
            assert (found - own).abs().max() <= bound * own.abs().max()


def test_pieces_change_nothing() -> None:
    network, spec = make("plain")
    weights, inputs = initialize(spec, torch.arange(5), "glorot"), torch.randn(33, 1, 8, 8)
    whole = Population(network, spec, engine="vmap")(weights, inputs)
    small = Population(network, spec, engine="vmap", memory_mb=0.1)
    assert small.pieces(5, inputs) != (5, 33)
    torch.testing.assert_close(small.outputs_no_grad(weights, inputs), whole)


def test_running_leaves_the_module_alone() -> None:
    network, spec = make("residual")
    before = {name: tensor.clone() for name, tensor in network.train().state_dict().items()}
    Population(network, spec).outputs_no_grad(torch.randn(2, spec.params), torch.randn(3, 1, 8, 8))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert network.training


@pytest.mark.parametrize("engine", engines.names())
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_run_where_the_weights_are(name: str, engine: str) -> None:
    """The module itself stays where it was made. The meta device stands for any other one."""
    network, spec = make(name)
    weights = torch.zeros(3, spec.params, device="meta", requires_grad=True)
    inputs = torch.zeros(4, 1, 8, 8, device="meta")
    population = Population(network, spec, engine=engine)
    assert population.outputs_no_grad(weights, inputs).is_meta
    assert torch.autograd.grad(population(weights, inputs).sum(), weights)[0].is_meta


def test_close_engines_meet_again_on_a_larger_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    network, spec = make("plain")
    weights, seen = torch.randn(40, spec.params), []

    def fake(laps: Mapping[str, partial], rounds: int, clock: object) -> tuple[str, dict[str, float]]:
        seen.append({name: tuple(len(x) for x in lap.args[1:3]) for name, lap in laps.items()})
        small = {"vmap": 1e-3, "batched": 1.5e-3}  # vmap wins while its numbers fit the cache
        large = {"vmap": 9.0, "batched": 4.0}
        seconds = {name: (small if len(seen) == 1 else large).get(name, 1.0) for name in laps}
        return min(seconds, key=seconds.__getitem__), seconds

    monkeypatch.setattr("weightatlas.population.forward.race", fake)
    options: dict[str, Any] = {"network": network, "spec": spec, "workers": 1}
    chosen = fastest(options, weights, torch.randn(300, 1, 8, 8), True, True)
    assert chosen.name == "batched"
    assert seen[0].keys() >= {"vmap", "batched", "loop"}
    assert set(seen[0].values()) == {(16, 256)}
    assert seen[1:] == [{"vmap": (40, 300), "batched": (40, 300)}]


def test_samples_grow_to_the_call_as_far_as_time_allows() -> None:
    assert _grown(16, 256, (64, 1024), 99.0) == (64, 1024)
    assert _grown(16, 256, (64, 1024), 4.0) == (16, 1024)
    assert _grown(16, 256, (64, 256), 2.0) == (32, 256)
    assert _grown(16, 256, (64, 1024), 1.5) == (16, 256)  # hardly larger
    assert _grown(16, 256, (16, 256), 99.0) == (16, 256)
    assert _grown(16, 256, (9999, 9999), 1e9) == (16, 4096)  # memory is not risked for a comparison


def test_auto_equals_a_named_engine() -> None:
    network, spec = make("plain")
    weights, inputs = initialize(spec, torch.arange(3), "glorot"), torch.randn(4, 1, 8, 8)
    named = Population(network, spec, engine="loop")(weights, inputs)
    torch.testing.assert_close(Population(network, spec)(weights, inputs), named)


def test_wrong_shapes_are_refused() -> None:
    network, spec = make("plain")
    population = Population(network, spec, engine="loop")
    with pytest.raises(SpecError, match="the spec says"):
        population(torch.zeros(2, spec.params + 1), torch.zeros(1, 1, 8, 8))
    with pytest.raises(DataError, match="2 networks"):
        population(torch.zeros(2, spec.params), torch.zeros(3, 4, 1, 8, 8), shared=False)
    with pytest.raises(SpecError, match="lacks"):
        Population(torch.nn.Linear(2, 2), spec)
