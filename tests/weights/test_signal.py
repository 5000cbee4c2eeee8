"""Propagated moments against sampled networks: exact where the network is linear, close where it is not."""

import pytest
import torch
from torch import nn

from tests.weights.architectures import ARCHITECTURES, build
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights import signal
from weightatlas.weights.deep_statistics import deep_statistics
from weightatlas.weights.signal import Signal, propagate
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.trace import trace


def spec(name: str) -> NetworkSpec:
    network, shape, _ = build(name)
    return spec_of(network, shape) if name != "words" else trace(network, shape)


def signals(network: nn.Module, inputs: int) -> list[Signal]:
    here = trace(network, (inputs,))
    values = torch.cat([p.detach().flatten() for p in network.parameters()])[None]
    return propagate(values, here)[0]


@pytest.mark.parametrize("activation", [nn.Identity, nn.Tanh, nn.ReLU])
def test_moments_are_those_of_a_sampled_network(activation: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 40), activation(), nn.Linear(40, 4))
    found = signals(network, 6)
    with torch.no_grad():
        x = torch.randn(40_000, 6)
        first, last = network[0](x), network(x)
    torch.testing.assert_close(found[0].mean[0].float(), first.mean(0), rtol=0, atol=0.02)
    torch.testing.assert_close(found[0].covariance[0].float(), first.T.cov(), rtol=0, atol=0.03)
    torch.testing.assert_close(found[1].mean[0].float(), last.mean(0), rtol=0, atol=0.02)
    torch.testing.assert_close(found[1].covariance[0].float(), last.T.cov(), rtol=0, atol=0.02)


def test_running_statistics_are_divided_by() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).eval()
    network[1].running_var.fill_(4.0)  # type: ignore[union-attr]
    network[1].running_mean.fill_(1.0)  # type: ignore[union-attr]
    here = trace(network, (2,))
    state = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
    values = torch.cat([state[t.name].flatten() for t in here.tensors])[None]
    found = propagate(values, here)[0]
    expected = (network[0].bias.detach().double() - 1) / (4 + 1e-5) ** 0.5  # type: ignore[union-attr]
    torch.testing.assert_close(found[-1].mean[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("pooled", [False, True])
def test_deep_statistics_of_permuted_networks_are_the_same(name: str, pooled: bool) -> None:
    here, generator = spec(name), torch.Generator().manual_seed(0)
    values = 0.3 * torch.randn(2, here.params, generator=generator, dtype=torch.float64)
    moved = permute(values, sample(here, 2, generator), here)
    before, after = (deep_statistics(part, here, pooled) for part in (values, moved))
    torch.testing.assert_close(after, before, rtol=1e-6, atol=1e-7)
    assert torch.isfinite(before).all()
    other = deep_statistics(values.roll(1, 1), here, pooled)
    assert not torch.allclose(other, before)


def test_pooled_statistics_have_one_width_and_runaway_networks_stay_finite() -> None:
    widths = set()
    for name in ("cnn_flatten", "residual"):
        here = spec(name)
        values = torch.full((1, here.params), 1e20)
        found = deep_statistics(values, here, pooled=True)
        assert torch.isfinite(found).all()
        widths.add(found.shape[1])
    assert len(widths) == 1


def test_few_nodes_that_read_many_are_followed_in_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read has a covariance of 10 by 10 numbers, of which one chunk holds one."""
    monkeypatch.setattr(signal, "_NUMBERS", 100)
    here = trace(torch.nn.Linear(10, 1), (10,))
    assert [len(chunk[0].mean) for chunk in propagate(torch.ones(3, here.params), here)] == [1, 1, 1]


def test_tensors_longer_than_quantiles_of_torch_take_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    """The true limit of 2^24 numbers of one tensor would take seconds here."""

    def refused(values: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        raise RuntimeError(f"quantile() input tensor is too large: {values.shape}")

    monkeypatch.setattr(torch, "quantile", refused)
    here = spec("cnn_flatten")
    assert torch.isfinite(deep_statistics(torch.randn(2, here.params), here)).all()


@pytest.mark.parametrize("name", ["cnn_flatten", "residual", "attention"])
def test_index_maps_go_to_the_device_of_the_values(name: str) -> None:
    """The meta device refuses, as an accelerator does, what lies elsewhere."""
    here = spec(name)
    assert deep_statistics(torch.zeros(2, here.params, device="meta"), here).device.type == "meta"
