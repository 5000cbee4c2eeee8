"""nn.Module -> proposed NetworkSpec: torch.fx, shapes on fake tensors, one axis rule per operation.

What comes out is a proposal; `weightatlas.symmetry.verify.spec_of` checks it by running.
"""

import re
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.fx.node import map_arg

import weightatlas.weights.entrywise
import weightatlas.weights.reshapes  # noqa: F401  (both register their rules)
from weightatlas.errors import SpecError
from weightatlas.weights import operations
from weightatlas.weights.axes import Symbol, axis_of, fresh, resolve
from weightatlas.weights.rules import RULES, Call, Opaque, Tracked, constants, fix_all
from weightatlas.weights.spec import NetworkSpec, Node, Role, TensorSpec
from weightatlas.weights.symbolic import digest_of, nodes_of, portable, symbolic, tensors_in

_BATCH = 2


class OpaqueWarning(UserWarning):
    """An operation is not understood; the axes it touches are not permuted."""


def trace(network: nn.Module, input_shape: tuple[int, ...]) -> NetworkSpec:
    """Propose the spec of a network: its tensors, how they may be permuted, and its layer graph.

    Example:
        >>> spec = trace(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), (3,))
        >>> spec.groups, [tensor.name for tensor in spec.tensors]
        ((4,), ['0.weight', '0.bias', '2.weight', '2.bias'])

    Args:
        network: Any module of known operations; it is not changed.
        input_shape: Shape of one input without the batch axis.

    Returns:
        The proposed spec, described in eval mode.

    Raises:
        SpecError: The code cannot be traced, or it does not run on this input shape.
    """
    network = portable(network)
    module = symbolic(network)
    errors = []
    for dtype in (torch.float32, torch.int64):
        try:
            tracer = _follow(module, network, tuple(input_shape), dtype)
        except Exception as error:  # any error the user's code raises
            errors.append(error)
            continue
        return tracer.spec(tuple(input_shape))
    raise SpecError(
        f"{type(network).__name__} does not run on an input of shape {tuple(input_shape)}.",
        where=str(errors[0]).strip().splitlines()[0],
        todo="Pass the shape of one input without the batch axis, for example (3, 32, 32).",
    ) from errors[0]


def _follow(
    module: fx.GraphModule, network: nn.Module, input_shape: tuple[int, ...], dtype: torch.dtype
) -> "_Tracing":
    """Run a network on fake tensors; if its code looks at their numbers, on zeros."""
    try:
        return _Tracing(module, network).propagate(
            input_shape, dtype, FakeTensorMode(allow_non_fake_inputs=True)
        )
    except (DataDependentOutputException, DynamicOutputShapeException):
        return _Tracing(module, network).propagate(input_shape, dtype, nullcontext())


class _Tracing(fx.Interpreter):
    """Runs a traced network on fake tensors and applies the axis rule of each operation."""

    def __init__(self, module: fx.GraphModule, network: nn.Module) -> None:
        super().__init__(module)
        self.canonical: dict[str, str] = {}
        self.tensors: dict[str, Tensor] = {}
        first: dict[int, str] = {}
        for name, tensor in network.state_dict(keep_vars=True).items():
            self.canonical[name] = first.setdefault(id(tensor), name)
            if tensor.is_floating_point() and self.canonical[name] == name:
                self.tensors[name] = tensor
        self.index = {name: i for i, name in enumerate(self.tensors)}
        self.known = {name: Tracked([fresh(n) for n in t.shape]) for name, t in self.tensors.items()}
        self.tracked: dict[fx.Node, Any] = {}
        self.roles: dict[str, Role] = {}
        self.layers: dict[tuple[str, str], int] = {}
        self.graph_nodes: list[Node] = []
        self.positions: dict[fx.Node, int] = {}
        self.constants: dict[int, Tensor] = {}

    def propagate(
        self, input_shape: tuple[int, ...], dtype: torch.dtype, mode: AbstractContextManager[Any]
    ) -> "_Tracing":
        """Run the network once on a batch of zeros."""
        self.dtype = dtype
        with mode, torch.no_grad():
            self.run(torch.zeros(_BATCH, *input_shape, dtype=dtype))
        return self

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "placeholder" and isinstance(result, Tensor):
            self.tracked[n] = constants(tuple(result.shape))
            kind = "float" if self.dtype.is_floating_point else "int"
            self._emit(n, "input", [], {"dtype": kind}, [])
        elif n.op == "get_attr":
            self._attribute(n, result)
        elif n.op == "output":
            inputs = [node for node in nodes_of((n.args, n.kwargs)) if node in self.tracked]
            fix_all(*(t for node in inputs for t in _flat(self.tracked[node])))
            self._emit(n, "output", inputs, {}, [])
        elif n.op != "placeholder" and tensors_in(result):
            self._operation(n, result)
        return result

    def _attribute(self, n: fx.Node, value: Any) -> None:
        """Track a parameter or buffer that the code reads directly."""
        if not isinstance(value, Tensor):
            return
        name = self.canonical.get(str(n.target), str(n.target))
        self.tracked[n] = self.known.get(name, constants(tuple(value.shape)))

    def _operation(self, n: fx.Node, result: Any) -> None:
        """Apply the rule of one operation and add it to the layer graph."""
        module = self.module.get_submodule(str(n.target)) if n.op == "call_module" else None
        op = operations.name_of_module(module) if module else operations.name_of_function(n.target)
        if op == "getattr" and n.args[1] in ("T", "mT"):
            op = str(n.args[1])
        source = n.all_input_nodes[0] if n.all_input_nodes else None
        item = {"values": 0, "indices": 1}.get(str(n.args[1]), n.args[1]) if len(n.args) > 1 else None
        if op in ("getitem", "getattr") and source is not None and isinstance(self.tracked.get(source), list):
            self.tracked[n] = self.tracked[source][item]
            self._emit(n, "item", [source], {"index": operations.plain(item)}, [])
            return
        training = operations.bind(op, n.args, dict(n.kwargs))[0].get("training")
        if op in operations.IDENTITIES and source is not None and not training:
            self.tracked[n], self.positions[n] = self.tracked[source], self._position(source)
            return
        self._layer(n, op, module, result)

    def _layer(self, n: fx.Node, op: str, module: nn.Module | None, result: Any) -> None:
        """Apply a rule that may own tensors."""
        known = module is None or type(module).__module__.startswith("torch.nn.modules")
        arguments, extra = operations.bind(op, n.args, dict(n.kwargs))
        given = operations.in_order(op, n.args, dict(n.kwargs))
        inputs = [node for node in nodes_of(given) if node in self.tracked]
        own: dict[str, str] = {}
        if module is not None:
            own = self._module_tensors(str(n.target), module)
            attributes: dict[str, Any] = {"code": repr(module)}
            attributes = operations.attributes_of_module(module) if known else attributes
        else:
            for name in operations.TENSOR_ARGUMENTS & set(arguments):
                target = getattr(arguments[name], "target", None)
                tensor = self.canonical.get(str(target))
                if tensor in self.known and arguments[name].op == "get_attr":
                    own[name] = tensor
                    inputs = [node for node in inputs if node is not arguments[name]]
            attributes = operations.attributes_of_call(op, arguments, extra)
        for name in sorted(own, key=lambda name: self.index[own[name]]):
            self._use(own[name], op, name)
        shapes = [tuple(tensor.shape) for tensor in tensors_in(result)]
        values = {name: self._value(value) for name, value in arguments.items()}
        values |= {name: self.known[tensor] for name, tensor in own.items()}
        call = Call({**attributes, **values}, [self._value(value) for value in extra], shapes)
        self.tracked[n] = self._apply(op, call, known, n, inputs, own)
        if op in ("flatten", "view", "reshape", "unflatten", "squeeze", "unsqueeze", "expand", "repeat"):
            op, attributes = operations.describe_reshape(op, shapes[0], attributes, _BATCH)
        if op == "batch_norm":
            attributes["rank"] = len(shapes[0])
        if operations.writes_over(n, module):
            attributes["inplace"] = True
        order = [self.index[own[name]] for name in sorted(own, key=lambda name: self.index[own[name]])]
        self._emit(n, op if known else "opaque", inputs, attributes, order)

    def _apply(
        self, op: str, call: Call, known: bool, n: fx.Node, inputs: list[fx.Node], own: dict[str, str]
    ) -> Any:
        """Run the rule of an operation; without one, or if it does not fit, fix everything it touches."""
        try:
            if not known or op not in RULES:
                raise Opaque("there is no rule for it")
            outputs = RULES[op](call)
            if [t.shape for t in _flat(outputs)] != call.shapes:
                raise Opaque("its rule does not fit this use")
            return outputs
        except (Opaque, KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
            reason = str(error) if isinstance(error, Opaque) else f"its rule failed ({error})"
        touched = [t for node in inputs for t in _flat(self.tracked[node])]
        if any(not _is_fixed(t) for t in touched) or own:
            what = f"'{n.target}' ({op})" if n.op == "call_module" else f"'{op}'"
            warnings.warn(
                f"{what} is not understood: {reason}; its axes are fixed.", OpaqueWarning, stacklevel=2
            )
        fix_all(*touched, *(self.known[name] for name in own.values()))
        outputs = [constants(shape) for shape in call.shapes]
        return outputs if len(outputs) > 1 else outputs[0]

    def _module_tensors(self, path: str, module: nn.Module) -> dict[str, str]:
        """Map a module's own tensor names to those of the network."""
        found = {}
        for name in module.state_dict(keep_vars=True):
            tensor = self.canonical.get(f"{path}.{name}")
            if tensor in self.known:
                found[name] = tensor
        return found

    def _value(self, value: Any) -> Any:
        """Replace nodes in an argument by what is tracked for them, or by their plain value."""
        return map_arg(value, lambda node: self.tracked.get(node, self.env.get(node)))

    def _use(self, tensor: str, op: str, argument: str) -> None:
        """Note role and layer of a tensor at its first use."""
        self.roles.setdefault(tensor, operations.role_of(op, argument, tensor, self.tensors[tensor]))
        owner, _, local = tensor.rpartition(".")
        stem = re.sub(r"weight|bias|running_mean|running_var", "", local)
        self.layers.setdefault((owner, stem), len(self.layers))

    def _position(self, node: fx.Node) -> int:
        """Return the place of a node in the layer graph; parameters read directly join on first use."""
        if node not in self.positions:
            name = self.canonical.get(str(node.target), str(node.target))
            if name in self.known:
                self._use(name, "parameter", name)
                self._emit(node, "parameter", [], {}, [self.index[name]])
            else:
                self.constants[len(self.graph_nodes)] = self.fetch_attr(str(node.target))
                self._emit(node, "constant", [], {}, [])
        return self.positions[node]

    def _emit(
        self, n: fx.Node, op: str, inputs: list[fx.Node], attributes: dict[str, Any], tensors: list[int]
    ) -> None:
        """Append one operation to the layer graph."""
        places = tuple(self._position(node) for node in inputs)
        self.positions[n] = len(self.graph_nodes)
        self.graph_nodes.append(Node(op=op, inputs=places, attributes=attributes, tensors=tuple(tensors)))

    def spec(self, input_shape: tuple[int, ...]) -> NetworkSpec:
        """Number the groups in order of first appearance and write the spec."""
        used = set(self.roles)
        for name in self.tensors:
            if name not in used:
                fix_all(self.known[name])
                self._use(name, "unused", name)
        groups: dict[Symbol, int] = {}
        for tracked in self.known.values():
            for run in (run for line in tracked.lines for run in resolve(line)):
                if not run.symbol.fixed:
                    groups.setdefault(run.symbol, len(groups))
        for place, value in self.constants.items():
            self.graph_nodes[place] = Node(op="constant", attributes={"digest": digest_of(value)})
        aliases: dict[str, list[str]] = {}
        for name, canonical in self.canonical.items():
            if name != canonical:
                aliases.setdefault(canonical, []).append(name)
        tensors = tuple(self._tensor(name, groups, aliases.get(name, [])) for name in self.tensors)
        sizes = tuple(symbol.members for symbol in groups)
        return NetworkSpec(
            tensors=tensors, groups=sizes, graph=tuple(self.graph_nodes), input_shape=input_shape
        )

    def _tensor(self, name: str, groups: dict[Symbol, int], aliases: list[str]) -> TensorSpec:
        """Write the spec of one tensor."""
        owner, _, local = name.rpartition(".")
        stem = re.sub(r"weight|bias|running_mean|running_var", "", local)
        tensor = self.tensors[name]
        return TensorSpec(
            name=name,
            shape=tuple(tensor.shape),
            role=self.roles[name],
            axes=tuple(axis_of(line, groups) for line in self.known[name].lines),
            layer=self.layers[owner, stem],
            trainable=isinstance(tensor, nn.Parameter) and tensor.requires_grad,
            aliases=tuple(aliases),
        )


def _flat(tracked: Any) -> list[Tracked]:
    """List the tracked tensors of an output."""
    return list(tracked) if isinstance(tracked, (tuple, list)) else [tracked]


def _is_fixed(tracked: Tracked) -> bool:
    """Tell whether no axis of a tensor may move."""
    return all(run.symbol.fixed for line in tracked.lines for run in resolve(line))
