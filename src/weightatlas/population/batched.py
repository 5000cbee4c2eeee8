"""The batched engine: every layer one matrix product for a block of networks, with its own backward pass."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from weightatlas.population.crew import side_by_side
from weightatlas.population.engines import Engine, Loss, Masks, cross_entropy, engines, named
from weightatlas.population.operations import Tape, Workspace, even
from weightatlas.population.operations_pointwise import BatchNorm
from weightatlas.population.program import BATCH_LAST, Kit, program_of
from weightatlas.weights.spec import NetworkSpec

CACHE_MB = (
    16.0  # what a block of networks may occupy; much more falls out of the cache, much less is overhead
)
KEPT_MB = 256.0  # what calls with gradient may keep until their backward pass
WIDEST = 4  # times the usual number of queries in a block of few networks


@engines.register("batched")
class BatchedEngine(Engine):
    """Blocks of networks layer by layer, batch innermost; needs a traceable network of known layers."""

    name = "batched"
    kit: ClassVar[Kit] = BATCH_LAST
    width: ClassVar[int] = 32  # queries in a block: whole vector registers, and enough work per call
    classes: ClassVar[int] = 1  # axis of the outputs' classes

    def __init__(self, network: nn.Module, spec: NetworkSpec, workers: int = 1) -> None:
        super().__init__(network, spec, workers)
        self.programs = {
            training: program_of(self.training if training else self.network, self.kit)
            for training in (False, True)
        }
        kinds = [step.operation for step in self.programs[True].steps]
        self.divisible = not any(isinstance(kind, BatchNorm) for kind in kinds)
        self.local = threading.local()
        self.numbers: int | None = None

    @property
    def work(self) -> Workspace:
        """The buffers of the calling thread."""
        if not hasattr(self.local, "work"):
            self.local.work = Workspace()
        return self.local.work

    def outputs(self, weights: Tensor, inputs: Tensor, shared: bool) -> Tensor:
        graded = torch.is_grad_enabled() and (weights.requires_grad or inputs.requires_grad)
        return _Outputs.apply(weights, inputs, shared, self, graded)  # type: ignore[no-any-return]

    def train_outputs(
        self, weights: Tensor, inputs: Tensor, masks: Masks
    ) -> tuple[Tensor, dict[str, Tensor]]:
        raise RuntimeError("the batched engine trains by `gradients`")

    def gradients(
        self, weights: Tensor, inputs: Tensor, labels: Tensor, loss: Loss, masks: Masks
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        batch, losses, statistics = inputs.shape[1], torch.zeros(len(weights)).to(weights), []
        pieces = [slice(0, batch)]
        if loss is cross_entropy and self.divisible and labels.ndim == 2:
            pieces = _slices(batch, even(batch, self.piece(inputs[0])))
        count = even(len(weights), self.block(inputs[0], pieces[0].stop))
        gradient = self.work.take("gradient", weights.shape, weights)
        for rows in _slices(len(weights), count):
            for piece in pieces:
                own = {name: mask[rows, piece] for name, mask in masks.items()}
                tape = self.tape(weights[rows], own, training=True)
                outputs = self.programs[True].forward(tape, self.enter(inputs[rows, piece]))
                value, grad = _loss_gradient(outputs, labels[rows, piece], loss, self)
                share = (piece.stop - piece.start) / batch
                self.programs[True].backward(tape, grad if share == 1 else grad.mul_(share), inputs=False)
                self.collect(tape, gradient[rows], add=piece.start > 0)
                losses[rows] += value * share
            statistics.append(tape.statistics)
        joined = {name: torch.cat([s[name] for s in statistics]) for name in statistics[0]}
        return gradient, losses, joined

    def enter(self, inputs: Tensor) -> Tensor:
        """Bring inputs `(networks, batch, ...)` to the order of the operations."""
        return batch_last(inputs)

    def leave(self, outputs: Tensor) -> Tensor:
        """Bring outputs to the order `(networks, batch, ...)`."""
        return outputs.movedim(-1, 1)

    def undo(self, outputs: Tensor) -> Tensor:
        """Bring `(networks, batch, ...)` back to the order of the outputs."""
        return outputs.movedim(1, -1).contiguous()

    def block(self, sample: Tensor, batch: int) -> int:
        """Choose how many networks to run together so that their activations stay in the cache."""
        return max(int(CACHE_MB * 2**20 / (sample.element_size() * self.size(sample) * batch)), 1)

    def size(self, sample: Tensor) -> int:
        """Count the numbers that all buffers hold for one image."""
        if self.numbers is None:
            blank = torch.zeros(1, self.spec.params, dtype=sample.dtype, device=sample.device)
            tape = replace(self.tape(blank, {}), work=Workspace())
            self.programs[False].forward(tape, self.enter(sample[None, :1]))
            self.numbers = max(tape.work.numbers(without="columns"), 1)  # those are unfolded by the sheaf
        return self.numbers

    def piece(self, sample: Tensor) -> int:
        """Choose how many images of a large batch go through the network before the next ones follow."""
        return max(2 * self.width, int(CACHE_MB * 2**18 / (sample.element_size() * self.size(sample))))

    def tape(
        self,
        weights: Tensor,
        masks: Mapping[str, Tensor],
        training: bool = False,
        kept: Workspace | None = None,
        graded: bool = True,
    ) -> Tape:
        state = named(weights, self.spec)
        for tensor in self.spec.tensors:
            state |= dict.fromkeys(tensor.aliases, state[tensor.name])
        return Tape({**state, **masks}, len(weights), self.work, training, kept, graded)

    def collect(self, tape: Tape, out: Tensor | None = None, add: bool = False) -> Tensor:
        """Join the gradients of all tensors to rows, written or added to `out`."""
        parts = []
        for tensor in self.spec.tensors:
            found = [tape.grads[n] for n in (tensor.name, *tensor.aliases) if n in tape.grads]
            part = sum(found[1:], found[0]) if found else torch.zeros_like(tape.state[tensor.name])
            parts.append(part.reshape(tape.networks, -1))
        if add and out is not None:
            return out.add_(torch.cat(parts, dim=1))
        return torch.cat(parts, dim=1, out=out)


class _Outputs(torch.autograd.Function):
    """Outputs of a population; backward runs forward again where keeping its numbers would need much memory.

    What is kept is small: neither unfolded inputs nor what only a pooling layer reads.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, weights: Tensor, inputs: Tensor, shared: bool, engine: BatchedEngine, graded: bool
    ) -> Tensor:
        ctx.save_for_backward(weights, inputs)
        ctx.shared, ctx.engine = shared, engine  # type: ignore[attr-defined]
        blocks, pieces = _blocks(engine, weights, inputs, shared)
        room = KEPT_MB * 2**20 / len(blocks) if graded else 0.0

        def work(rows: slice) -> tuple[Tensor, list[Tape]]:
            parts, tapes, used = [], [], 0
            for queries in pieces:
                x, kept = engine.enter(_cut(inputs, rows, queries, shared)), None
                if used < room:
                    kept = Workspace()
                tape = engine.tape(weights[rows], {}, kept=kept, graded=kept is not None)
                parts.append(engine.leave(engine.programs[False].forward(tape, x)).clone())
                if kept is not None:
                    used += kept.bytes() + x.nbytes
                    tapes.append(tape)
            return torch.cat(parts, dim=1), tapes

        found = side_by_side(work, blocks, engine.workers)
        ctx.tapes = [tapes for _, tapes in found]  # type: ignore[attr-defined]
        return torch.cat([outputs for outputs, _ in found])

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        weights, inputs = ctx.saved_tensors  # type: ignore[attr-defined]
        shared, engine = ctx.shared, ctx.engine  # type: ignore[attr-defined]
        wanted = ctx.needs_input_grad[1]  # type: ignore[attr-defined]
        blocks, pieces = _blocks(engine, weights, inputs, shared)
        kept, ctx.tapes = ctx.tapes, [[] for _ in blocks]  # type: ignore[attr-defined]

        def tape_of(rows: slice, queries: slice, tapes: list[Tape]) -> Tape:
            if tapes:
                return replace(tapes.pop(0), work=engine.work)
            tape = engine.tape(weights[rows], {})
            engine.programs[False].forward(tape, engine.enter(_cut(inputs, rows, queries, shared)))
            return tape

        def work(job: tuple[slice, list[Tape]]) -> tuple[Tensor, Tensor | None]:
            rows, tapes = job
            whole, back = torch.zeros_like(weights[rows]), []
            for queries in pieces:
                tape, own = tape_of(rows, queries, tapes), engine.undo(grad[rows, queries])
                value = engine.programs[False].backward(tape, own, inputs=wanted)
                whole = engine.collect(tape, whole, add=True)
                if wanted:
                    back.append(torch.zeros(()) if value is None else engine.leave(value).clone())
            return whole, torch.cat(back, dim=1) if wanted else None

        found = side_by_side(work, zip(blocks, kept, strict=True), engine.workers)
        back = None
        if wanted:
            parts = [part for _, part in found]
            back = torch.stack(parts).sum(dim=0)[0] if shared else torch.cat(parts)
        return torch.cat([whole for whole, _ in found]), back, None, None, None


def _blocks(engine: BatchedEngine, weights: Tensor, inputs: Tensor, shared: bool) -> tuple[list, list]:
    """Cut a call into blocks of networks, and pieces of queries, that stay in the cache."""
    total = len(inputs) if shared else inputs.shape[1]
    sample = inputs if shared else inputs[0]
    few = engine.block(sample, engine.width) // max(len(weights), 1)  # few networks take more queries at once
    width = even(total, engine.width * min(max(few, 1), WIDEST))
    most = engine.block(sample, width)
    count = even(len(weights), min(most, -(-len(weights) // engine.workers)))
    return _slices(len(weights), count), _slices(total, width)


def _slices(total: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


def _cut(inputs: Tensor, rows: slice, queries: slice, shared: bool) -> Tensor:
    """Take the inputs of a block, with a leading axis of one if all networks share them."""
    return inputs[None, queries] if shared else inputs[rows, queries]


def batch_last(inputs: Float[Tensor, "networks batch *rest"]) -> Float[Tensor, "networks *rest batch"]:
    """Move the batch to the end, where the kernels want it."""
    flat = inputs.flatten(2).transpose(1, 2)
    if flat.shape[1] < 1024 or inputs.device.type != "cpu":
        flat = flat.contiguous()
    else:  # long rows: only the two-dimensional copy of PyTorch goes tile by tile
        tiles, flat = flat, torch.empty(flat.shape, dtype=flat.dtype)
        for target, source in zip(flat, tiles, strict=True):
            target.copy_(source)
    return flat.view(len(inputs), *inputs.shape[2:], inputs.shape[1])


def _loss_gradient(
    outputs: Tensor, labels: Tensor, loss: Loss, engine: BatchedEngine
) -> tuple[Tensor, Tensor]:
    """Return losses and their gradient with respect to outputs in the engine's order."""
    if loss is cross_entropy and outputs.ndim == 3:
        logs = torch.log_softmax(outputs, dim=engine.classes)
        index = labels.unsqueeze(engine.classes)
        losses = -logs.gather(engine.classes, index).mean(dim=(1, 2))
        grad = logs.exp_()
        grad.scatter_add_(engine.classes, index, grad.new_full((), -1.0).expand(index.shape))
        return losses, grad.div_(labels.shape[1])
    with torch.enable_grad():
        leaf = outputs.detach().requires_grad_(True)
        losses = loss(engine.leave(leaf), labels)
        (grad,) = torch.autograd.grad(losses.sum(), leaf)
    return losses.detach(), grad
