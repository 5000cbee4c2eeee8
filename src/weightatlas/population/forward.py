"""Population: run many networks of one function on the same or on their own inputs."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightatlas.errors import DataError, SpecError
from weightatlas.population import images as images  # registers the engines
from weightatlas.population.engines import Engine, engines
from weightatlas.population.operations import NoProgram
from weightatlas.population.prepare import activation_numbers, prepare
from weightatlas.population.race import BEHIND, ROUNDS, clock_for, race
from weightatlas.runtime import memory_budget
from weightatlas.weights.spec import NetworkSpec

log = logging.getLogger("weightatlas")
QUERIES, TIMED = 256, 4096  # queries, and queries of all networks together, on which engines are timed first
FINAL = 2  # rounds on larger samples, where differences are large
LARGEST, SECONDS = 2**16, 0.25  # queries of all networks in the largest sample, and what a lap on it may take


class Population:
    """Runs `M` networks of one function: pure, in eval mode, differentiable in weights and inputs.

    Example:
        >>> from weightatlas.weights.spec import Segment, TensorSpec
        >>> fixed = lambda n: (Segment(members=n),)
        >>> spec = NetworkSpec(tensors=(
        ...     TensorSpec(name="weight", shape=(3, 2), role="weight", axes=(fixed(3), fixed(2)), layer=0),))
        >>> population = Population(nn.Linear(2, 3, bias=False), spec)
        >>> population(torch.zeros(5, 6), torch.ones(4, 2)).shape
        torch.Size([5, 4, 3])

    Args:
        network: Any module of the function; its own weights are ignored.
        spec: The layout of the weight rows.
        engine: "auto" times the engines on the first call and keeps the fastest; or a name.
        memory_mb: Budget for activations of calls without gradient; a quarter of the memory budget if none.
        workers: Threads that may run blocks of networks side by side; as many as torch uses if none.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: NetworkSpec,
        engine: str = "auto",
        memory_mb: float | None = None,
        workers: int | None = None,
    ) -> None:
        _check_names(network, spec)
        self.network, self.spec = network, spec
        self.memory_mb = memory_budget() / 4 if memory_mb is None else memory_mb
        self.engine_name, self.workers = engine, workers or torch.get_num_threads()
        self._engines: dict[bool, Engine] = {}
        self._numbers: int | None = None

    def __call__(
        self, weights: Float[Tensor, "networks params"], inputs: Tensor, shared: bool = True
    ) -> Float[Tensor, "networks queries *rest"]:
        """Run every network.

        Args:
            weights: Networks as rows.
            inputs: Shape `(queries, ...)` if shared, else `(networks, queries, ...)`.
            shared: Whether all networks see the same inputs.

        Raises:
            SpecError: The rows do not fit the spec.
            DataError: Per-network inputs and weights differ in number.
        """
        self._check(weights, inputs, shared)
        return self._choose(weights, inputs, shared).outputs(weights, inputs, shared)

    @torch.no_grad()
    def outputs_no_grad(
        self, weights: Float[Tensor, "networks params"], inputs: Tensor, shared: bool = True
    ) -> Float[Tensor, "networks queries *rest"]:
        """Run every network without gradients, in pieces that fit the memory budget."""
        self._check(weights, inputs, shared)
        engine = self._choose(weights, inputs, shared)
        rows, queries = self.pieces(len(weights), inputs if shared else inputs[0])
        axis = 0 if shared else 1
        blocks = []
        for start in range(0, len(weights), rows):
            own = inputs if shared else inputs[start : start + rows]
            parts = own.split(queries, dim=axis)
            outs = [engine.outputs(weights[start : start + rows], part, shared) for part in parts]
            blocks.append(torch.cat(outs, dim=1))
        return torch.cat(blocks)

    def pieces(self, networks: int, inputs: Tensor) -> tuple[int, int]:
        """Choose how many networks and queries go into one piece within the memory budget."""
        if self._numbers is None:
            # A copy, in evaluation mode: the caller's module must not learn from it, and may be elsewhere.
            probe = prepare(self.network, training=False).to(inputs.device)
            probe = probe.to(inputs.dtype) if inputs.is_floating_point() else probe
            self._numbers = activation_numbers(probe, inputs)
        room = max(int(self.memory_mb * 2**20 / (4 * 3 * self._numbers)), 1)  # 3: workspace of the kernels
        queries = min(len(inputs), max(room // min(networks, 16), 1))
        return max(min(networks, room // queries), 1), queries

    def _choose(self, weights: Tensor, inputs: Tensor, shared: bool) -> Engine:
        """Return the engine; "auto" may choose another one for calls that need gradients."""
        graded = torch.is_grad_enabled() and (weights.requires_grad or inputs.requires_grad)
        if graded not in self._engines:
            options = {"network": self.network, "spec": self.spec, "workers": self.workers}
            if self.engine_name == "auto":
                # Gradients keep activations whatever is timed; without them the sample too fits the budget.
                rows, queries = self.pieces(len(weights), inputs if shared else inputs[0])
                largest = LARGEST if graded else min(LARGEST, rows * queries)
                self._engines[graded] = fastest(options, weights, inputs, shared, graded, largest)
            else:
                self._engines[graded] = engines.create(self.engine_name, **options)
        return self._engines[graded]

    def _check(self, weights: Tensor, inputs: Tensor, shared: bool) -> None:
        if weights.ndim != 2 or weights.shape[1] != self.spec.params:
            raise SpecError(
                f"Weights have shape {tuple(weights.shape)}, the spec says (networks, {self.spec.params})."
            )
        if not shared and len(inputs) != len(weights):
            raise DataError(f"{len(weights)} networks were given inputs for {len(inputs)}.")


def _check_names(network: nn.Module, spec: NetworkSpec) -> None:
    own = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    wrong = [t.name for t in spec.tensors if own.get(t.name) != t.shape]
    if wrong:
        raise SpecError(f"The network lacks what its spec names, or has other shapes: {', '.join(wrong)}.")


def fastest(
    options: dict[str, Any],
    weights: Tensor,
    inputs: Tensor,
    shared: bool,
    graded: bool,
    largest: int = LARGEST,
) -> Engine:
    """Time all engines on a sample of a call and return the fastest; what they compute is the same.

    Engines that are close meet again on a larger sample: a call may not fit the cache as a small one does.

    Args:
        options: What engines are made of: network, spec, workers.
        weights: Networks as rows.
        inputs: What they are run on.
        shared: Whether all networks see the same inputs.
        graded: Whether to time the backward pass too.
        largest: Queries of all networks in a sample, at most.
    """
    made: dict[str, Engine] = {}
    for name in engines.names():
        try:
            made[name] = engines.create(name, **options)
            _call(made[name], *_sample(weights, inputs, shared, 1, 1), shared, graded)
        except NoProgram as error:
            made.pop(name, None)
            log.info("population engine %s is not available: %s", name, error)
    whole = len(inputs) if shared else inputs.shape[1]
    queries = min(whole, QUERIES)
    rows = min(16 * options["workers"], max(TIMED // max(queries, 1), 2 * options["workers"]), len(weights))
    rows = max(min(rows, largest // max(queries, 1)), 1)
    queries = max(min(queries, largest // rows), 1)
    clock = clock_for(weights.device, options["workers"])
    rounds = ROUNDS
    while True:
        sample = _sample(weights, inputs, shared, rows, queries)
        laps: dict[str, Callable[[], None]] = {
            name: partial(_call, engine, *sample, shared, graded) for name, engine in made.items()
        }
        for lap in laps.values():
            lap()
        best, seconds = race(laps, rounds, clock)
        log.info("population engine %s: %s", best, {name: f"{1e3 * s:.2f} ms" for name, s in seconds.items()})
        made = {name: engine for name, engine in made.items() if seconds[name] < BEHIND * seconds[best]}
        factor = SECONDS / max(seconds[best], 1e-6)
        grown = _grown(rows, queries, (len(weights), whole), factor, largest)
        if len(made) == 1 or grown == (rows, queries):
            return made[best]
        (rows, queries), rounds = grown, FINAL


def _grown(
    rows: int, queries: int, most: tuple[int, int], factor: float, largest: int = LARGEST
) -> tuple[int, int]:
    """Enlarge a sample towards the call, so that it takes at most `factor` times as long.

    Returns:
        Networks and queries; those given if the call is hardly larger or the time does not suffice.
    """
    factor = min(factor, largest / (rows * queries))
    more = min(int(queries * max(factor, 1)), most[1])
    wide = min(int(rows * max(factor * queries / more, 1)), most[0])
    return (wide, more) if wide * more >= 2 * rows * queries else (rows, queries)


def _sample(weights: Tensor, inputs: Tensor, shared: bool, rows: int, queries: int) -> tuple[Tensor, Tensor]:
    """Take the first networks and queries of a call."""
    few = weights[:rows].detach()
    return few, (inputs[:queries] if shared else inputs[: len(few), :queries]).detach()


def _call(engine: Engine, weights: Tensor, inputs: Tensor, shared: bool, graded: bool) -> None:
    """Run once, with the backward pass if it will be needed."""
    with torch.set_grad_enabled(graded):
        weights = weights.requires_grad_(graded)
        outputs = engine.outputs(weights, inputs, shared)
        if graded:
            torch.autograd.grad(outputs.sum(), weights)
