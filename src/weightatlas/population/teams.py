"""Teams: worker threads that train blocks of networks side by side."""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import local
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightatlas.population import images as images  # registers the engines
from weightatlas.population.blocks import Block, train_epoch
from weightatlas.population.engines import Engine, Loss, engines
from weightatlas.population.operations import NoProgram
from weightatlas.population.prepare import activation_numbers, dropout_shapes, prepare
from weightatlas.population.race import clock_for, race
from weightatlas.population.randomness import refuse_own_randomness
from weightatlas.weights.spec import NetworkSpec

log = logging.getLogger("weightatlas")
SAMPLE = 32  # networks on which engines are compared


class Team:
    """Worker threads with one engine each; use as a context manager.

    Args:
        network: Any module of the function.
        spec: Its layout.
        data: Split -> (inputs, labels).
        blocks: What to train; each block is handled by one worker at a time.
        engine: A name, or "auto".
        workers: Number of threads.
        memory_mb: Budget for the activations of one worker.
        loss: Loss per network.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: NetworkSpec,
        data: Mapping[str, tuple[Tensor, Tensor]],
        blocks: list[Block],
        engine: str,
        workers: int,
        memory_mb: float,
        loss: Loss,
    ) -> None:
        self.network, self.spec, self.data, self.blocks, self.loss = network, spec, data, blocks, loss
        inputs = data["train"][0]
        probe = prepare(network, training=False).to(inputs.device)
        drops = any(bool((block.dropout > 0).any()) for block in blocks)
        self.shapes = dropout_shapes(probe, inputs, drops)
        refuse_own_randomness(prepare(network, training=True).to(inputs.device), inputs)
        self.room = max(int(memory_mb * 2**20 / (12 * activation_numbers(probe, inputs))), 1)
        self.workers = min(workers, len(blocks))
        self.engine = engine
        self._own = local()

    def __enter__(self) -> "Team":
        self._threads = torch.get_num_threads()
        if self.workers > 1:
            torch.set_num_threads(1)
            self._pool = ThreadPoolExecutor(self.workers, initializer=torch.set_num_threads, initargs=(1,))
        try:
            self.engine = self._fastest() if self.engine == "auto" else self.engine
        except BaseException as error:  # a block whose beginning fails has no end
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.workers > 1:
            self._pool.shutdown(cancel_futures=True)
            torch.set_num_threads(self._threads)

    def train(self, epoch: int) -> None:
        """Train every block for one epoch."""
        inputs, labels = self.data["train"]

        def work(block: Block) -> None:
            train_epoch(block, self._engine(), epoch, inputs, labels, self.loss, self.shapes)

        self._map(work)

    def measure(self) -> list[dict[str, Tensor]]:
        """Measure every block on every split, in eval mode."""
        return self._map(lambda block: measure(block, self._engine(), self.data, self.room))

    def _map(self, work: Callable[[Block], Any]) -> list[Any]:
        return list(self._pool.map(work, self.blocks)) if self.workers > 1 else [work(b) for b in self.blocks]

    def _engine(self) -> Engine:
        """Return the calling thread's engine: functional calls swap tensors in the module."""
        if not hasattr(self._own, "engine"):
            self._own.engine = engines.create(self.engine, network=self.network, spec=self.spec)
        return self._own.engine

    def _fastest(self) -> str:
        """Time a step of the first block with every engine; nothing is changed by it."""
        block, (inputs, labels) = self.blocks[0], self.data["train"]
        rows = slice(0, SAMPLE)
        index = block.order(1, len(inputs))[rows, : block.batch]
        weights, images, own = block.weights[rows], inputs[index], labels[index]
        masks = block.masks(1, 0, len(weights), self.shapes)
        steps: dict[str, Callable[[], Any]] = {}
        for name in engines.names():
            try:
                engine = engines.create(name, network=self.network, spec=self.spec)
                steps[name] = partial(engine.gradients, weights, images, own, self.loss, masks)
                steps[name]()  # warm up, or find out that a layer has no form
            except NoProgram as error:
                steps.pop(name, None)
                log.info("training engine %s is not available: %s", name, error)
        best, seconds = race(steps, clock=clock_for(weights.device, 1))
        log.info("training engine %s: %s", best, {n: f"{1e3 * s:.1f} ms" for n, s in seconds.items()})
        return best


@torch.no_grad()
def measure(
    block: Block, engine: Engine, data: Mapping[str, tuple[Tensor, Tensor]], room: int
) -> dict[str, Tensor]:
    """Measure loss and accuracy of a block on every split, in pieces that fit the memory budget."""
    found = {}
    for split, (inputs, labels) in data.items():
        share = block.share(len(inputs)) if split == "train" else None
        queries = max(room // len(block.weights), 1)
        loss, acc = torch.zeros(2, len(block.weights), device=inputs.device, dtype=torch.float64)
        for start in range(0, len(inputs), queries):
            piece = slice(start, start + queries)
            outputs = engine.outputs(block.weights, inputs[piece], True)
            own = labels[piece].expand(outputs.shape[:2])
            each = F.cross_entropy(outputs.flatten(0, 1), own.flatten(), reduction="none").view(own.shape)
            weight = 1 / len(inputs) if share is None else share[:, piece]
            loss += (each.double() * weight).sum(dim=1)
            acc += ((outputs.argmax(dim=2) == own).double() * weight).sum(dim=1)
        found |= {f"{split}_loss": loss.float(), f"{split}_acc": acc.float()}
    return found
