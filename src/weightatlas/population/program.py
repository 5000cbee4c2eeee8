"""Turn a module into a list of batched operations, or say which part of it none exists for."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor, fx, nn

from weightatlas.population import operations as ops
from weightatlas.population import operations_images as images
from weightatlas.population import operations_layers as layers
from weightatlas.population import operations_pointwise as points
from weightatlas.population import operations_pooling as pools
from weightatlas.population.memory import Step, mark_lasting, share_memory
from weightatlas.population.operations import NoProgram
from weightatlas.population.prepare import MaskedDropout, PureNorm
from weightatlas.weights.operations import writes_over

# torch.fx replaces `nn.Module.__call__` while it traces: two threads at once would leave it replaced.
_TRACING = Lock()


@dataclass(frozen=True)
class Kit:
    """The operations that depend on how values are laid out."""

    linear: Callable[..., ops.Operation] = layers.Linear
    conv: Callable[..., ops.Operation] = layers.Conv2d
    norm: Callable[..., ops.Operation] = points.BatchNorm
    flatten: Callable[..., ops.Operation] = points.Flatten
    dropout: Callable[..., ops.Operation] = points.Dropout
    concat: Callable[..., ops.Operation] = points.Concat
    channels: Callable[..., ops.Operation] = points.Channels


BATCH_LAST = Kit()
CHANNELS_LAST = Kit(
    images.ImageLinear,
    images.ImageConv2d,
    images.ImageNorm,
    images.ImageFlatten,
    images.ImageDropout,
    images.ImageConcat,
    images.ImageChannels,
)


@dataclass(frozen=True)
class Program:
    """A network as batched operations.

    Args:
        steps: In execution order; slot 0 is the input.
        result: Slot of the output.
    """

    steps: tuple[Step, ...]
    result: int

    def forward(self, tape: ops.Tape, x: Tensor) -> Tensor:
        """Run all steps on an input `(networks or 1, ..., batch)`."""
        slots = {0: x}
        for step in self.steps:
            slots[step.output] = step.operation.forward(tape, *(slots[i] for i in step.inputs))
        return slots[self.result]

    def backward(self, tape: ops.Tape, grad: Tensor, inputs: bool) -> Tensor | None:
        """Fill `tape.grads`; return the gradient of the input if asked."""
        needs = {0: inputs}
        for step in self.steps:
            needs[step.output] = bool(step.operation.tensors) or any(needs[i] for i in step.inputs)
        grads = {self.result: grad}
        for step in reversed(self.steps):
            own = grads.pop(step.output, None)
            if own is None or not needs[step.output]:
                continue
            wanted = [needs[i] for i in step.inputs]
            back = step.operation.backward(tape, own, wanted)
            for slot, value, want in zip(step.inputs, back, wanted, strict=True):
                if want and value is not None:
                    grads[slot] = grads[slot] + value if slot in grads else value
        return grads.get(0)


class _Tracer(fx.Tracer):
    """Keeps pure layers whole, as it keeps those of torch.nn."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, MaskedDropout | PureNorm) or super().is_leaf_module(m, module_qualified_name)


def program_of(network: nn.Module, kit: Kit = BATCH_LAST) -> Program:
    """Trace a module and replace each of its operations by a batched one.

    Args:
        network: The module.
        kit: Operations of the engine.

    Raises:
        NoProgram: The module cannot be traced or an operation has no batched form.
    """
    try:
        with _TRACING:
            graph = _Tracer().trace(network)
    except Exception as error:
        raise NoProgram(f"it cannot be traced: {error}") from error
    modules, slots, steps = dict(network.named_modules()), {}, []
    for node in graph.nodes:
        if node.op == "placeholder":
            if slots:
                raise NoProgram("it takes more than one input")
            slots[node] = 0
        elif node.op == "output":
            if not isinstance(node.args[0], fx.Node):
                raise NoProgram("it returns more than one tensor")
            share_memory(steps, slots[node.args[0]])
            mark_lasting(steps)
            return Program(tuple(steps), slots[node.args[0]])
        else:
            operation, inputs = _translate(node, modules, kit)
            operation.key = node.name
            slots[node] = len(steps) + 1
            steps.append(Step(operation, tuple(slots[i] for i in inputs), len(steps) + 1))
    raise NoProgram("it returns nothing")


def _translate(node: fx.Node, modules: dict[str, nn.Module], kit: Kit) -> tuple[ops.Operation, list[fx.Node]]:
    """Find the batched form of one traced operation, and the nodes it reads."""
    if writes_over(node, modules.get(str(node.target)) if node.op == "call_module" else None):
        raise NoProgram(f"'{node.name}' changes in place what others read")
    if node.op == "call_module":
        module = modules[str(node.target)]
        return _module(module, str(node.target), kit), [n for n in node.args if isinstance(n, fx.Node)]
    if node.op not in ("call_function", "call_method"):
        raise NoProgram(f"'{node.op} {node.target}' has no batched form")
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    args = list[Any](node.args)  # a list, since pyright remembers what was asked of a tuple's length
    if name in ("add", "iadd") and all(isinstance(a, fx.Node) for a in args) and len(args) == 2:
        if node.kwargs:
            raise NoProgram(f"'{node.name}' with {', '.join(node.kwargs)} has no batched form")
        return points.Add(node.name), args
    if name in ("cat", "concat") and _dim(node, 1, 0) == 1:
        return kit.concat(node.name), list(args[0])
    if name == "flatten" and _dim(node, 1, 0) == 1 and len(args) < 3 and "end_dim" not in node.kwargs:
        return kit.flatten(node.name), [args[0]]
    if name == "getitem" and isinstance(args[0], fx.Node) and (part := _channels(args[1])):
        return kit.channels(node.name, part), [args[0]]
    if name in _FUNCTIONS and len(node.all_input_nodes) == 1:
        return _FUNCTIONS[name](node), node.all_input_nodes
    raise NoProgram(f"'{name}' has no batched form")


def _channels(index: Any) -> slice | None:
    """Read the channels that `x[:, start:stop]` takes, none if the index is of another form."""
    if not isinstance(index, tuple) or len(index) != 2 or index[0] != slice(None):
        return None
    part = index[1]
    plain = isinstance(part, slice) and part.step in (None, 1)
    return part if plain and all(isinstance(n, int | None) for n in (part.start, part.stop)) else None


def _dim(node: fx.Node, position: int, default: Any) -> Any:
    """Read the axis argument of a call."""
    names = ("dim", "start_dim")
    given = [node.kwargs[name] for name in names if name in node.kwargs]
    return given[0] if given else node.args[position] if len(node.args) > position else default


def _pointwise(node: fx.Node) -> ops.Operation:
    """Wrap a pointwise call with its constant arguments."""
    name = node.target if isinstance(node.target, str) else node.target.__name__
    known = {"relu": "ReLU", "tanh": "Tanh", "sigmoid": "Sigmoid", "silu": "SiLU", "sin": "sin"}.get(name)
    if known and len(node.args) == 1:
        return points.Activation(node.name, *points.KNOWN[known])
    factors = [a for a in node.args if isinstance(a, int | float)]
    if name == "mul" and len(factors) == 1 and len(node.args) == 2:
        return points.Activation(node.name, *points.scaled(float(factors[0])))
    args, kwargs = node.args, dict(node.kwargs)
    target: Callable[..., Tensor] = (
        getattr(torch.Tensor, name) if isinstance(node.target, str) else node.target
    )

    def call(x: Tensor) -> Tensor:
        return target(*(x if isinstance(a, fx.Node) else a for a in args), **kwargs)

    return points.Pointwise(node.name, call)


def _mean(node: fx.Node) -> ops.Operation:
    dims = _dim(node, 1, None)
    keep = bool(node.kwargs.get("keepdim", node.args[2] if len(node.args) > 2 else False))
    if not isinstance(dims, list | tuple) or sorted(d % 4 for d in dims) != [2, 3]:
        raise NoProgram(f"a mean over axes {dims} has no batched form")
    return pools.GlobalMean(node.name, keep)


_POINTWISE = (
    "relu tanh sigmoid silu gelu leaky_relu elu softplus sin cos exp mul truediv add sub neg square abs"
)
_FUNCTIONS: dict[str, Callable[[fx.Node], ops.Operation]] = dict.fromkeys(_POINTWISE.split(), _pointwise)
_FUNCTIONS["mean"] = _mean

_ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.GELU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.Softplus)
_ACTIVATIONS += (nn.ReLU6, nn.Mish, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid, nn.Softsign)


def _module(module: nn.Module, name: str, kit: Kit) -> ops.Operation:
    """Find the batched form of a layer."""
    kind = type(module).__name__
    if isinstance(module, nn.LeakyReLU) and module.negative_slope > 0:
        return points.Activation(name, *points.leaky(module.negative_slope))
    if type(module) in _ACTIVATIONS:
        known = points.KNOWN.get(kind)
        return points.Activation(name, *known) if known else points.Pointwise(name, pure(module))
    if type(module) in _MODULES:
        return _MODULES[type(module)](module, name, kit)
    raise NoProgram(f"layer '{name}' ({kind}) has no batched form")


def pure(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return what an activation computes, without its in-place flag.

    Not the module itself: calling it while another thread traces would run into the tracer.
    """
    if getattr(module, "inplace", False):
        import copy

        module = copy.deepcopy(module)
        module.inplace = False  # type: ignore[assignment]
    return module.forward


def _linear(module: Any, name: str, kit: Kit) -> ops.Operation:
    return kit.linear(name, module.bias is not None)


def _conv(module: Any, name: str, kit: Kit) -> ops.Operation:
    if module.padding_mode != "zeros":
        raise NoProgram(f"convolution '{name}' pads by '{module.padding_mode}'")
    padding = module.padding
    if isinstance(padding, str):
        total = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        if padding == "same" and any(t % 2 for t in total):
            raise NoProgram(f"convolution '{name}' pads its sides unequally")
        padding = (0, 0) if padding == "valid" else tuple(t // 2 for t in total)
    bias = module.bias is not None
    return kit.conv(name, bias, module.kernel_size, module.stride, padding, module.dilation, module.groups)


def _max_pool(module: Any, name: str, kit: Kit) -> ops.Operation:
    if module.return_indices:
        raise NoProgram(f"pooling '{name}' returns indices")
    sides = [_pair(v) for v in (module.kernel_size, module.stride, module.padding, module.dilation)]
    return pools.MaxPool2d(name, (*sides, module.ceil_mode))


def _avg_pool(module: Any, name: str, kit: Kit) -> ops.Operation:
    sides = [_pair(v) for v in (module.kernel_size, module.stride, module.padding)]
    return pools.AvgPool2d(
        name, (*sides, module.ceil_mode, module.count_include_pad, module.divisor_override)
    )


def _adaptive(module: Any, name: str, kit: Kit) -> ops.Operation:
    if _pair(module.output_size) != [1, 1]:
        raise NoProgram(f"pooling '{name}' to {module.output_size} has no batched form")
    return pools.GlobalMean(name, keep=True)


def _norm(module: Any, name: str, kit: Kit) -> ops.Operation:
    return kit.norm(name, module.eps, module.momentum, hasattr(module, "weight"), module.tracks)


def _flatten(module: Any, name: str, kit: Kit) -> ops.Operation:
    if (module.start_dim, module.end_dim) != (1, -1):
        raise NoProgram(f"layer '{name}' flattens axes {module.start_dim} to {module.end_dim}")
    return kit.flatten(name)


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


_MODULES: dict[type, Callable[[Any, str, Kit], ops.Operation]] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.AdaptiveAvgPool2d: _adaptive,
    nn.Flatten: _flatten,
    nn.Identity: lambda module, name, kit: points.Identity(name),
    MaskedDropout: lambda module, name, kit: kit.dropout(name),
    PureNorm: _norm,
}
