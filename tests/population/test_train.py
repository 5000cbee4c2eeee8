"""Training a population equals training each network alone."""

import copy
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.population.small import NETWORKS, make, reference, spec_by_hand, toy_data
from weightatlas.errors import ConfigError
from weightatlas.population.engines import engines
from weightatlas.population.initialize import initialize
from weightatlas.population.train import Checkpoint, TrainConfig, train
from weightatlas.runtime import stream, threads, uniform

OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")


def _runs(count: int = 8, **settings: object) -> list[TrainConfig]:
    mixed = list(product((1.0, 0.5), OPTIMIZERS))
    return [
        TrainConfig.build(
            {
                "key": i,
                "optimizer": o,
                "train_fraction": f,
                "lr": 2e-3,
                "batch_size": 16,
                "weight_decay": 1e-3,
            }
            | settings
        )
        for i, (f, o) in zip(range(count), mixed * count, strict=False)
    ]


def _train(name: str, runs: list[TrainConfig], epochs: int = 1, **options: object) -> list[Checkpoint]:
    network, spec = make(name)
    checkpoints = range(epochs + 1)
    return list(train(network, spec, toy_data(), runs, epochs, checkpoints, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NETWORKS)
def test_all_engines_agree(name: str) -> None:
    runs = _runs(dropout=0.2 if name == "dropped" else 0.0)
    found = {e: _train(name, runs, engine=e, workers=1)[-1] for e in engines.names()}
    for checkpoint in found.values():
        torch.testing.assert_close(checkpoint.weights, found["loop"].weights, rtol=1e-3, atol=3e-4)
        for key, value in checkpoint.metrics.items():
            torch.testing.assert_close(value, found["loop"].metrics[key], rtol=1e-3, atol=0.03)


@pytest.mark.parametrize("engine", engines.names())
def test_companions_do_not_matter(engine: str) -> None:
    """One worker makes one block of all networks with the same optimizer, whatever share they train on."""
    runs = _runs(dropout=0.2)
    together = _train("dropped", runs, epochs=2, engine=engine, workers=1)[-1]
    single = [_train("dropped", [run], epochs=2, engine=engine, workers=1)[-1] for run in runs]
    alone = torch.cat([checkpoint.weights for checkpoint in single])
    torch.testing.assert_close(together.weights, alone, rtol=1e-4, atol=1e-5)
    if engine == "loop":  # the same kernels on the same shapes: bit for bit
        assert torch.equal(together.weights, alone)
        for name, values in together.metrics.items():
            assert torch.equal(values, torch.cat([checkpoint.metrics[name] for checkpoint in single]))


@pytest.mark.parametrize("engine", engines.names())
def test_same_call_and_other_worker_counts_are_bit_equal(engine: str) -> None:
    runs = _runs()
    first = _train("plain", runs, engine=engine, workers=2)[-1]
    assert torch.equal(first.weights, _train("plain", runs, engine=engine, workers=2)[-1].weights)


def test_equals_plain_pytorch() -> None:
    """The same batches through an ordinary module and torch.optim give the same network."""
    network, spec = make("plain")
    run = TrainConfig(key=42, optimizer="adam", lr=1e-2, weight_decay=1e-3, batch_size=16)
    (found,) = train(network, spec, toy_data(), [run], 2, engine="loop")
    plain = reference(network, spec, initialize(spec, torch.tensor([42]), run.init)[0]).train()
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-2, weight_decay=1e-3)
    inputs, labels = toy_data()["train"]
    for epoch in (1, 2):
        order = uniform(stream(torch.tensor([42]), epoch, "order"), len(inputs))[0].argsort()
        for index in order.split(16):
            optimizer.zero_grad()
            F.cross_entropy(plain(inputs[index]), labels[index]).backward()
            optimizer.step()
    flat = torch.cat([p.detach().flatten() for p in plain.parameters()])
    torch.testing.assert_close(found.weights[0], flat, rtol=1e-4, atol=1e-5)
    test_inputs, test_labels = toy_data()["test"]
    loss = F.cross_entropy(plain.eval()(test_inputs), test_labels)
    assert found.metrics["test_loss"][0].item() == pytest.approx(loss.item(), rel=1e-3)


@pytest.mark.parametrize("engine", engines.names())
def test_running_statistics_follow_torch(engine: str) -> None:
    network, spec = make("residual")
    run = TrainConfig(key=1, optimizer="sgd", lr=0.0, batch_size=48)
    (found,) = train(network, spec, toy_data(), [run], 1, engine=engine)
    plain = reference(network, spec, initialize(spec, torch.tensor([1]), run.init)[0]).train()
    inputs = toy_data()["train"][0]
    order = uniform(stream(torch.tensor([1]), 1, "order"), len(inputs))[0].argsort()
    for index in order.split(48):
        plain(inputs[index])
    place = spec.slices["norm.running_var"]
    torch.testing.assert_close(found.weights[0, place], plain.norm.running_var)


def test_learns_and_reports() -> None:
    found = _train("plain", _runs(4, train_fraction=1.0, lr=1e-2), epochs=8)
    assert [c.epoch for c in found] == list(range(9))
    assert found[-1].metrics["test_acc"][1:].min() > 0.8
    assert found[-1].metrics["train_loss"].max() < found[0].metrics["train_loss"].min()


def test_a_diverged_network_disturbs_nobody() -> None:
    good = _runs(4, optimizer="sgd", lr=0.01)
    wild = TrainConfig(key=99, optimizer="sgd", lr=1e30, batch_size=16)
    for engine in engines.names():
        mixed = _train("plain", [*good[:2], wild, *good[2:]], epochs=2, engine=engine)[-1]
        clean = _train("plain", good, epochs=2, engine=engine)[-1]
        assert mixed.finite.tolist() == [True, True, False, True, True]
        torch.testing.assert_close(mixed.weights[mixed.finite], clean.weights, rtol=1e-4, atol=1e-5)


def test_train_fraction_keeps_the_same_images() -> None:
    network, spec = make("plain")
    inputs, labels = toy_data()["train"]
    run = TrainConfig(key=5, train_fraction=0.25, batch_size=8, lr=1e-2)
    changed = copy.copy(inputs)
    from weightatlas.runtime import shuffles

    members = shuffles(stream(torch.tensor([5]), "members"), len(inputs))[0]
    changed[members[24:]] = 100.0  # images outside the share must not matter
    results = [
        list(train(network, spec, {"train": (x, labels)}, [run], 3, engine="loop"))[-1]
        for x in (inputs, changed)
    ]
    assert torch.equal(results[0].weights, results[1].weights)
    assert torch.equal(results[0].metrics["train_loss"], results[1].metrics["train_loss"])


def test_contradictions_are_listed_at_once() -> None:
    network, spec = make("plain")
    runs = [TrainConfig(init="kaming", dropout=0.5, batch_size=1000)]
    with pytest.raises(ConfigError, match="4 problems") as error:
        next(train(network, spec, toy_data(), runs, 2, [3]))
    for part in ("kaming", "dropout", "1000", r"0..2"):
        assert part in str(error.value)


def test_continues_from_given_weights() -> None:
    runs = _runs(2, weight_decay=0.0, train_fraction=1.0)
    first = _train("plain", runs)[0].weights
    given = torch.stack([first[1], first[0]])
    found = _train("plain", runs, start=given)
    assert torch.equal(found[0].weights, given)
    assert not torch.equal(found[1].weights, given)
    same = _train("plain", runs, start=first)
    assert torch.equal(same[1].weights, _train("plain", runs)[1].weights)
    with pytest.raises(ConfigError, match="first weights have shape"):
        _train("plain", runs, start=first[:1])


class Shared(nn.Module):
    """One dropout layer under two names; called once, or at both places."""

    def __init__(self, twice: bool) -> None:
        super().__init__()
        self.flat, self.a, self.b = nn.Flatten(), nn.Linear(64, 6), nn.Linear(6, 5)
        self.drop = nn.Dropout()
        self.again, self.twice = self.drop, twice

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.again(torch.relu(self.a(self.flat(x))))
        return self.b(self.drop(x) if self.twice else x)


def test_a_dropout_layer_of_two_names_draws_from_the_key() -> None:
    network = Shared(twice=False)
    spec = spec_by_hand(network)
    run = TrainConfig(key=3, dropout=0.5, batch_size=16)
    first, again = (next(train(network, spec, toy_data(), [run], 1, engine="loop")).weights for _ in range(2))
    assert torch.equal(first, again)


def test_a_dropout_layer_called_twice_is_refused() -> None:
    network = Shared(twice=True)
    spec = spec_by_hand(network)
    next(train(network, spec, toy_data(), [TrainConfig(batch_size=16)], 1, engine="loop"))
    with pytest.raises(ConfigError, match="calls its dropout layer 'drop' 2 times"):
        next(train(network, spec, toy_data(), [TrainConfig(batch_size=16, dropout=0.5)], 1))


def test_threads_are_restored_if_no_engine_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("weightatlas.population.teams.race", broken)
    with threads(3):
        with pytest.raises(RuntimeError, match="out of memory"):
            _train("plain", _runs(4), workers=2)
        assert torch.get_num_threads() == 3
