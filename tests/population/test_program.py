"""Every batched operation equals the module it replaces, forward and backward; what has none says so."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from tests.population.small import make, reference, spec_by_hand, toy_data
from weightatlas.errors import ConfigError
from weightatlas.networks import create_network
from weightatlas.population.batched import BatchedEngine
from weightatlas.population.engines import LoopEngine, cross_entropy, engines
from weightatlas.population.forward import Population
from weightatlas.population.images import ImagesEngine
from weightatlas.population.initialize import initialize
from weightatlas.population.operations import NoProgram, Tape, Workspace
from weightatlas.population.program import program_of
from weightatlas.population.train import TrainConfig, train


class Branches(nn.Module):
    """Concatenation, shared layers, functional calls, a mean instead of pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice = nn.Conv2d(2, 4, 3, padding="same"), nn.Conv2d(4, 4, 1)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = torch.relu(self.first(x))
        b = self.twice(torch.sin(2.0 * self.twice(a)))
        return self.head(self.norm(torch.cat([a, b], dim=1)).mean((2, 3)))


class Parts(nn.Module):
    """Slices of channels and of features: the middle, the end, all of them, more than there are."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(2, 6, 3), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.first(x)
        b = torch.cat([torch.relu(a[:, 1:4]) + a[:, -3:], torch.relu(a[:, :]), a[:, 4:9]], dim=1)
        features = b.mean((2, 3))
        return self.head(torch.tanh(features[:, 2:10]))


class WrittenOver(nn.Module):
    """Rectifies in place what it then adds."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = 2.0 * x
        return self.act(x) + x


class Combined(nn.Module):
    """Combines a value with what a function makes of it."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class Tied(nn.Module):
    """Two names for one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.b.weight = self.a.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(torch.tanh(self.a(x)))


class Residual(nn.Module):
    """A sum whose result is written over by the activation behind it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(channels, channels, 5, padding=2), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(x + self.conv(x))
        return self.act(self.conv(x) + x)


def _stack(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3))


IMAGES = (2, 9, 9)
CASES = {
    "stride": (lambda: _stack(nn.Conv2d(2, 6, 3, stride=2, padding=1), nn.ReLU()), IMAGES),
    "uneven": (lambda: _stack(nn.Conv2d(2, 6, (3, 2), stride=(2, 3), padding=(0, 1)), nn.Tanh()), IMAGES),
    "dilation": (lambda: _stack(nn.Conv2d(2, 4, 3, dilation=2, padding=2), nn.SiLU()), IMAGES),
    "groups": (lambda: _stack(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 8, 3, groups=4, bias=False)), IMAGES),
    "depthwise first": (lambda: _stack(nn.Conv2d(2, 4, 3, groups=2), nn.Sigmoid()), IMAGES),
    "border": (lambda: _stack(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 3, 2, padding=3, stride=4)), IMAGES),
    "overlap": (lambda: _stack(nn.Conv2d(2, 4, 2), nn.MaxPool2d(3, 2, padding=1)), IMAGES),
    "ceil": (lambda: _stack(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)), IMAGES),
    "pool first": (lambda: _stack(nn.MaxPool2d(2, ceil_mode=True), nn.GELU(), nn.Conv2d(2, 4, 2)), IMAGES),
    "average": (lambda: _stack(nn.Conv2d(2, 4, 3), nn.AvgPool2d(2), nn.LeakyReLU(0.2, inplace=True)), IMAGES),
    "norm": (lambda: _stack(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU()), IMAGES),
    "branches": (Branches, IMAGES),
    "parts": (Parts, IMAGES),
    "leaky": (lambda: _stack(nn.Conv2d(2, 4, 3), nn.LeakyReLU(0.01), nn.Conv2d(4, 4, 2)), IMAGES),
    "siren": (lambda: create_network("siren", coordinates=6, outputs=3, hidden=[5, 4]), (6,)),
    "norm 1d": (lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)), (6,)),
    "residual": (lambda: nn.Sequential(Residual(2), nn.Flatten(), nn.LazyLinear(3)), IMAGES),
    "shortcut": (
        lambda: _stack(nn.Conv2d(2, 8, 3, stride=2, padding=1), nn.Conv2d(8, 4, 1, stride=2)),
        IMAGES,
    ),
    "tied": (Tied, (6,)),
}


_LAYERS = "weightatlas.population.operations_layers"
_TILES = {f"{_LAYERS}.WHOLE_MB": 0.0, "weightatlas.population.operations_windows.TILE_MB": 0.004}
_AGAIN = {"weightatlas.population.batched.KEPT_MB": 0.0}
WAYS: list[tuple[str, dict[str, float]]] = [
    ("batched", {}),
    ("images", {}),
    ("batched", {f"{_LAYERS}.SHEAF_MB": 0.0}),  # one network is convolved at a time
    ("batched", _TILES),  # convolutions as if their inputs were too large for the cache
    ("batched", _AGAIN),  # nothing is kept for the backward pass
    ("images", _AGAIN),
    ("batched", _TILES | _AGAIN),
]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_operations_equal_modules(case: str, shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    build, shape = CASES[case]
    network = build().double()
    network.eval()(torch.zeros(2, *shape, dtype=torch.float64))  # lazy layers learn their size
    spec = spec_by_hand(network)
    weights = initialize(spec, torch.arange(3), "kaiming_normal").double()
    weights = (weights + 0.1 * torch.rand_like(weights)).requires_grad_()
    inputs = torch.randn(*(() if shared else (3,)), 5, *shape, dtype=torch.float64, requires_grad=True)

    def results(name: str) -> list[torch.Tensor]:
        population = Population(network, spec, engine=name)
        outputs = population(weights, inputs, shared)
        cotangent = torch.arange(outputs.numel(), dtype=torch.float64).sin().view(outputs.shape)
        bare = population.outputs_no_grad(weights, inputs, shared)
        return [outputs, bare, *torch.autograd.grad((outputs * cotangent).sum(), [weights, inputs])]

    wanted = results("loop")
    for name, limits in WAYS:
        with monkeypatch.context() as patch:
            for limit, value in limits.items():
                patch.setattr(limit, value)
            found = results(name)
        for ours, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_a_second_backward_pass_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    network, spec = make("plain")
    weights = initialize(spec, torch.arange(40), "glorot").requires_grad_()
    inputs = torch.randn(50, 1, 8, 8)
    for limit in (256.0, 0.5):  # all is kept; some is
        monkeypatch.setattr("weightatlas.population.batched.KEPT_MB", limit)
        outputs = Population(network, spec, engine="batched", workers=2)(weights, inputs)
        other = Population(network, spec, engine="batched", workers=2)(weights * 2, inputs)
        first, again = (
            torch.autograd.grad(outputs.square().sum(), weights, retain_graph=True)[0] for _ in range(2)
        )
        assert torch.equal(first, again)
        (direct,) = torch.autograd.grad(
            Population(network, spec, engine="loop")(weights, inputs).square().sum(), weights
        )
        torch.testing.assert_close(first, direct, rtol=1e-4, atol=1e-4)
        assert other.isfinite().all()


@pytest.mark.parametrize("case", [name for name in CASES if "norm" in name or name == "branches"])
@pytest.mark.parametrize("kind", [BatchedEngine, ImagesEngine])
def test_training_statistics_and_gradients(case: str, kind: type[BatchedEngine]) -> None:
    build, shape = CASES[case]
    network = build().double()
    network.eval()(torch.zeros(2, *shape, dtype=torch.float64))
    spec = spec_by_hand(network)
    weights = initialize(spec, torch.arange(3), "kaiming_normal").double()
    inputs, labels = torch.randn(3, 6, *shape, dtype=torch.float64), torch.randint(0, 3, (3, 6))
    ours, theirs = (
        engine(network, spec).gradients(weights, inputs, labels, cross_entropy, {})
        for engine in (kind, LoopEngine)
    )
    for found, expected in zip(ours[:2], theirs[:2], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert ours[2].keys() == theirs[2].keys()
    for name, value in ours[2].items():
        torch.testing.assert_close(value, theirs[2][name].flatten(1), rtol=1e-9, atol=1e-12)


def test_large_batches_in_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    network, spec = make("dropped")
    weights = initialize(spec, torch.arange(3), "glorot")
    inputs, labels = torch.randn(3, 150, 1, 8, 8), torch.randint(0, 5, (3, 150))
    masks = {"1.mask": (torch.rand(3, 150, 4, 1, 1) > 0.3).float()}
    whole = BatchedEngine(network, spec).gradients(weights, inputs, labels, cross_entropy, masks)
    whole = [whole[0].clone(), whole[1]]
    monkeypatch.setattr("weightatlas.population.batched.CACHE_MB", 1e-3)
    engine = BatchedEngine(network, spec)
    assert engine.piece(inputs[0]) == 64
    for ours, theirs in zip(
        engine.gradients(weights, inputs, labels, cross_entropy, masks), whole, strict=False
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_blocks_and_odd_sizes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    network, spec = make("plain")
    weights = initialize(spec, torch.arange(7), "glorot")
    inputs = toy_data()["train"][0][:67]
    whole = Population(network, spec, engine="batched")(weights, inputs)
    monkeypatch.setattr("weightatlas.population.batched.CACHE_MB", 0.05)
    small = Population(network, spec, engine="batched", workers=2)
    assert small._choose(weights, inputs, True).block(inputs, 10) < 7  # type: ignore[attr-defined]
    torch.testing.assert_close(small(weights, inputs), whole)
    one = Population(network, spec, engine="batched")(weights[:1], inputs[:1])
    torch.testing.assert_close(one[0], reference(network, spec, weights[0])(inputs[:1]).detach())


def test_a_ready_made_loss_equals_any_loss() -> None:
    network, spec = make("plain")
    weights, (inputs, labels) = initialize(spec, torch.arange(2), "glorot"), toy_data()["train"]
    engine = BatchedEngine(network, spec)
    batch = inputs[:8].expand(2, 8, 1, 8, 8), labels[:8].expand(2, 8)
    ready = engine.gradients(weights, *batch, cross_entropy, {})
    general = engine.gradients(weights, *batch, lambda o, y: cross_entropy(o, y), {})
    for ours, theirs in zip(ready[:2], general[:2], strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.LayerNorm(9), "LayerNorm"),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), "reflect"),
        (nn.Flatten(2), "flattens"),
        (nn.AdaptiveAvgPool2d(3), "AdaptiveAvgPool2d|has no batched form"),
        (WrittenOver(), "changes in place what others read"),
        (Combined(lambda x: torch.add(x, torch.relu(x), alpha=3)), "with alpha"),
        (Combined(lambda x: x.flatten(1, end_dim=2)), "'flatten' has no batched form"),
    ],
)
def test_what_has_no_batched_form_says_so_and_runs_otherwise(layer: nn.Module, reason: str) -> None:
    network = nn.Sequential(layer, nn.Flatten(), nn.LazyLinear(3))
    network(torch.zeros(2, *IMAGES))
    spec = spec_by_hand(network)
    with pytest.raises(NoProgram, match=reason):
        engines.create("batched", network=network, spec=spec)
    assert issubclass(NoProgram, ConfigError)
    weights, inputs = initialize(spec, torch.arange(2), "glorot"), torch.randn(4, *IMAGES)
    expected = torch.stack([reference(network, spec, row)(inputs) for row in weights]).detach()
    torch.testing.assert_close(Population(network, spec)(weights, inputs), expected)


@pytest.mark.parametrize("order", [1, -1])
def test_sums_of_unequal_shapes_run_otherwise(order: int) -> None:
    def add(x: torch.Tensor) -> torch.Tensor:
        first, second = (x, x.mean((2, 3), keepdim=True))[::order]
        return first + second

    network = nn.Sequential(nn.Conv2d(2, 4, 3), Combined(add), nn.Flatten(), nn.LazyLinear(3))
    network(torch.zeros(2, *IMAGES))
    spec = spec_by_hand(network)
    weights, inputs = initialize(spec, torch.arange(2), "glorot").requires_grad_(), torch.randn(4, *IMAGES)
    with pytest.raises(NoProgram, match="unequal shapes"):
        Population(network, spec, engine="batched")(weights, inputs)
    found, wanted = (
        torch.autograd.grad(Population(network, spec, engine=name)(weights, inputs).sin().sum(), weights)[0]
        for name in ("auto", "loop")
    )
    torch.testing.assert_close(found, wanted)


def test_training_falls_back_too() -> None:
    network = nn.Sequential(nn.Flatten(), nn.LayerNorm(64), nn.Linear(64, 5))
    spec = spec_by_hand(network)
    (found,) = train(network, spec, toy_data(), [TrainConfig(key=1, batch_size=16, lr=1e-2)], 3)
    assert found.metrics["test_acc"].item() > 0.5


def test_threads_may_trace_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.fx replaces `nn.Module.__call__` while it traces; afterwards it must be the original."""
    call = nn.Module.__call__
    monkeypatch.setattr(nn.Module, "__call__", call)  # Undone even if the test fails.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            networks = [nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)) for _ in range(48)]
            programs = list(pool.map(program_of, networks))
    finally:
        sys.setswitchinterval(interval)
    assert len(programs) == 48
    assert nn.Module.__call__ is call


def test_running_while_another_thread_traces_meets_no_tracer(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 2))
    program = program_of(network)

    def traced(*_: object, **__: object) -> None:
        raise AssertionError("a module was called")

    monkeypatch.setattr(nn.Module, "__call__", traced)  # as torch.fx does it
    state = {name: value[None] for name, value in network.state_dict().items()}
    assert program.forward(Tape(state, 1, Workspace()), torch.ones(1, 4, 2)).shape == (1, 2, 2)
