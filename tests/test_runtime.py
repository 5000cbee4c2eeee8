"""Randomness that depends on keys alone, threads, devices."""

import numpy as np
import pytest
import torch

from weightatlas import runtime
from weightatlas.errors import ConfigError


def test_keys_are_the_same_everywhere():
    assert runtime.key_of("cnn3", 7) == -2981665426701531397
    assert runtime.key_of("cnn3", 7) != runtime.key_of("cnn3", 8)


def test_a_network_does_not_depend_on_its_companions():
    keys = torch.tensor([11, -5, 2**62, 0])
    together = runtime.uniform(runtime.stream(keys, 3, "dropout"), 50)
    alone = torch.cat([runtime.uniform(runtime.stream(key[None], 3, "dropout"), 50) for key in keys])
    assert torch.equal(together, alone)
    assert torch.equal(runtime.uniform(keys, 10), runtime.uniform(keys, 50)[:, :10])


def test_streams_differ_by_counter_and_use():
    keys = torch.arange(4)
    streams = [runtime.stream(keys, *c) for c in ((0,), (1,), ("order",), (0, "order"), ("order", 0))]
    joined = torch.cat(streams)
    assert len(joined.unique()) == len(joined)


def test_uniform_and_normal_have_their_distribution():
    keys = runtime.stream(torch.arange(200), "test")
    uniform, normal = runtime.uniform(keys, 1000), runtime.normal(keys, 1000)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert uniform.mean().item() == pytest.approx(0.5, abs=5e-3)
    assert uniform.var().item() == pytest.approx(1 / 12, abs=2e-3)
    assert normal.mean().item() == pytest.approx(0, abs=1e-2)
    assert normal.std().item() == pytest.approx(1, abs=1e-2)
    rows = np.corrcoef(uniform.numpy())
    assert np.abs(rows[~np.eye(200, dtype=bool)]).max() < 0.2


def test_shuffles_are_orders():
    orders = runtime.shuffles(torch.arange(5), 20)
    assert torch.equal(orders.sort(dim=1).values, torch.arange(20).expand(5, 20))
    assert not torch.equal(orders[0], orders[1])


def test_generators_depend_on_their_parts():
    draws = [torch.rand(3, generator=runtime.generator_of("a", part)) for part in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    first, second = (runtime.numpy_generator_of("a", 1).random(3) for _ in range(2))
    assert (first == second).all()


def test_threads_are_restored():
    before = torch.get_num_threads()
    with runtime.threads(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == before


def test_cores_and_device():
    assert runtime.cores() >= 1
    assert runtime.pick_device("cpu") == torch.device("cpu")
    assert runtime.pick_device().type in ("cpu", "cuda")
    with pytest.raises(ConfigError, match="no device 'tpu'"):
        runtime.pick_device("tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_cuda_device_is_named():
    with pytest.raises(ConfigError, match=r"'cuda:1'.*no CUDA device"):
        runtime.pick_device("cuda:1")


def test_the_memory_budget_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEIGHTATLAS_MEMORY_MB", raising=False)
    assert runtime.memory_budget() == 2048
    monkeypatch.setenv("WEIGHTATLAS_MEMORY_MB", "100")
    assert runtime.memory_budget() == 100
    for wrong in ("", "much", "-1", "inf", "nan"):
        monkeypatch.setenv("WEIGHTATLAS_MEMORY_MB", wrong)
        with pytest.raises(ConfigError, match="no number of megabytes"):
            runtime.memory_budget()
