"""The batched engine: every layer one matrix product for a block of networks, with its own backward pass."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from weightatlas.population.engines import Engine, Loss, Masks, cross_entropy, engines, named
from weightatlas.population.operations import Tape, Workspace
from weightatlas.population.program import program_of
from weightatlas.weights.spec import NetworkSpec

CACHE_MB = 16.0  # what a block of networks may occupy; much more falls out of the cache, much less is overhead


@engines.register("batched")
class BatchedEngine(Engine):
    """Blocks of networks layer by layer, batch innermost; needs a traceable network of known layers."""

    name = "batched"

    def __init__(self, network: nn.Module, spec: NetworkSpec) -> None:
        super().__init__(network, spec)
        self.programs = {False: program_of(self.network), True: program_of(self.training)}
        self.work = Workspace()
        self.numbers: int | None = None

    def outputs(self, weights: Tensor, inputs: Tensor, shared: bool) -> Tensor:
        return _Outputs.apply(weights, inputs, shared, self)  # type: ignore[no-any-return]

    def train_outputs(
        self, weights: Tensor, inputs: Tensor, masks: Masks
    ) -> tuple[Tensor, dict[str, Tensor]]:
        raise NotImplementedError("the batched engine trains by `gradients`")

    def gradients(
        self, weights: Tensor, inputs: Tensor, labels: Tensor, loss: Loss, masks: Masks
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        count = even(len(weights), self.block(inputs[0], inputs.shape[1]))
        gradient = torch.zeros_like(weights) if self._partly else torch.empty_like(weights)
        losses, statistics = [], []
        for rows in (slice(i, i + count) for i in range(0, len(weights), count)):
            own = {name: mask[rows] for name, mask in masks.items()}
            tape = self._tape(weights[rows], own, training=True)
            outputs = self.programs[True].forward(tape, batch_last(inputs[rows]))
            value, grad = _loss_gradient(outputs, labels[rows], loss)
            self.programs[True].backward(tape, grad, inputs=False)
            self._collect(tape, gradient[rows])
            losses.append(value)
            statistics.append(tape.statistics)
        joined = {name: torch.cat([s[name] for s in statistics]) for name in statistics[0]}
        return gradient, torch.cat(losses), joined

    def block(self, sample: Tensor, batch: int) -> int:
        """Choose how many networks to run together so that their activations stay in the cache."""
        if self.numbers is None:
            work, self.work = self.work, Workspace()
            tape = self._tape(torch.zeros(1, self.spec.params, dtype=sample.dtype, device=sample.device), {})
            self.programs[False].forward(tape, batch_last(sample[None, :1]))
            self.numbers = self.work.numbers
            self.work = work
        return max(int(CACHE_MB * 2**20 / (sample.element_size() * self.numbers * batch)), 1)

    @property
    def _partly(self) -> bool:
        """Whether some numbers get no gradient in training."""
        return not bool(self.spec.trainable.all())

    def _tape(self, weights: Tensor, masks: Mapping[str, Tensor], training: bool = False) -> Tape:
        state = named(weights, self.spec)
        for tensor in self.spec.tensors:
            state |= dict.fromkeys(tensor.aliases, state[tensor.name])
        return Tape({**state, **masks}, len(weights), self.work, training)

    def _collect(self, tape: Tape, gradient: Tensor) -> None:
        """Write the gradients of all tensors to their place in the rows."""
        for tensor in self.spec.tensors:
            found = [tape.grads[n] for n in (tensor.name, *tensor.aliases) if n in tape.grads]
            place = gradient[:, self.spec.slices[tensor.name]]
            if found:
                place.copy_(found[0].reshape(place.shape))
            for further in found[1:]:
                place.add_(further.reshape(place.shape))


class _Outputs(torch.autograd.Function):
    """Outputs of a population; backward runs forward again block by block instead of keeping activations."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, weights: Tensor, inputs: Tensor, shared: bool, engine: BatchedEngine
    ) -> Tensor:
        ctx.save_for_backward(weights, inputs)
        ctx.shared, ctx.engine = shared, engine  # type: ignore[attr-defined]
        found = None
        for rows, queries, part in _blocks(engine, weights, inputs, shared):
            outputs = engine.programs[False].forward(engine._tape(weights[rows], {}), batch_last(part))
            if found is None:
                total = len(inputs) if shared else inputs.shape[1]
                found = outputs.new_empty(len(weights), total, *outputs.shape[1:-1])
            found[rows, queries] = outputs.movedim(-1, 1)
        return found  # type: ignore[return-value]

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        weights, inputs = ctx.saved_tensors  # type: ignore[attr-defined]
        shared, engine = ctx.shared, ctx.engine  # type: ignore[attr-defined]
        wanted = ctx.needs_input_grad[1]  # type: ignore[attr-defined]
        whole, back = torch.zeros_like(weights), torch.zeros_like(inputs) if wanted else None
        for rows, queries, part in _blocks(engine, weights, inputs, shared):
            tape = engine._tape(weights[rows], {})
            engine.programs[False].forward(tape, batch_last(part))
            own = grad[rows, queries].movedim(1, -1).contiguous()
            value = engine.programs[False].backward(tape, own, inputs=wanted)
            part_gradient = torch.zeros_like(weights[rows])
            engine._collect(tape, part_gradient)
            whole[rows] += part_gradient
            if back is not None and value is not None:
                place = back[queries] if shared else back[rows, queries]
                place += value.movedim(-1, 1)[0] if shared else value.movedim(-1, 1)
        return whole, back, None, None


def _blocks(engine: BatchedEngine, weights: Tensor, inputs: Tensor, shared: bool) -> list:
    """Cut a call into blocks of networks and queries that stay in the cache."""
    total = len(inputs) if shared else inputs.shape[1]
    width = min(total, WIDTH)
    count = even(len(weights), engine.block(inputs if shared else inputs[0], width))
    return [
        (slice(r, r + count), slice(q, q + width), _cut(inputs, r, count, q, width, shared))
        for r in range(0, len(weights), count)
        for q in range(0, total, width)
    ]


def even(total: int, most: int) -> int:
    """Choose a piece size of at most `most` that cuts `total` into nearly equal pieces."""
    return -(-total // -(-total // most))


WIDTH = 64  # queries in a block: whole vector registers, and enough work per call


def _cut(inputs: Tensor, row: int, count: int, query: int, width: int, shared: bool) -> Tensor:
    """Take the inputs of a block, with a leading axis of one if all networks share them."""
    if shared:
        return inputs[None, query : query + width]
    return inputs[row : row + count, query : query + width]


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


def _loss_gradient(outputs: Tensor, labels: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """Return losses and their gradient with respect to outputs `(networks, ..., batch)`."""
    if loss is cross_entropy and outputs.ndim == 3:
        logs = torch.log_softmax(outputs, dim=1)
        index = labels[:, None, :]
        losses = -logs.gather(1, index).mean(dim=(1, 2))
        grad = logs.exp_()
        grad.scatter_add_(1, index, grad.new_full((), -1.0).expand(index.shape))
        return losses, grad.div_(outputs.shape[2])
    with torch.enable_grad():
        leaf = outputs.detach().requires_grad_(True)
        losses = loss(leaf.movedim(-1, 1), labels)
        (grad,) = torch.autograd.grad(losses.sum(), leaf)
    return losses.detach(), grad
