"""The public door to specs: trace, permute, compare outputs, degrade what fails."""

import copy
import warnings
from collections import OrderedDict
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from weightatlas.errors import SpecError
from weightatlas.runtime import generator_of
from weightatlas.symmetry.double import InDouble
from weightatlas.symmetry.permutation import (
    Permutations,
    identity,
    parts_of,
    permute,
    permute_tensor,
    uses_of,
)
from weightatlas.weights.spec import Axis, NetworkSpec, Segment, TensorSpec
from weightatlas.weights.trace import trace
from weightatlas.weights.vector import unflatten

_TOLERANCE = 1e-9  # largest relative change of a correctly permuted network's outputs, in float64
_VISIBLE = 1e-6  # smallest relative change that a wrong permutation must cause
_QUERIES = 2
_MEMORY = 128


class SymmetryWarning(UserWarning):
    """A proposed permutation changes the function; its axes are fixed."""


@dataclass(frozen=True)
class GroupCheck:
    """What running said about one proposed group.

    Args:
        group: Its number in the proposed spec.
        members: Its size.
        tensors: Names of the tensors it touches.
        error: Relative change of the outputs under the permutation; should be 0.
        control: Relative change when only one place is permuted; must not be 0.
        kept: Whether the group is in the verified spec.
    """

    group: int
    members: int
    tensors: tuple[str, ...]
    error: float
    control: float
    kept: bool


@dataclass(frozen=True)
class Report:
    """What running said about a proposed spec.

    Args:
        groups: One check per proposed group.
        error: Relative change of the outputs when all kept groups are permuted at once.
    """

    groups: tuple[GroupCheck, ...] = field(default_factory=tuple)
    error: float = 0.0

    @property
    def failed(self) -> tuple[GroupCheck, ...]:
        return tuple(check for check in self.groups if not check.kept)


def spec_of(network: nn.Module, input_shape: tuple[int, ...]) -> NetworkSpec:
    """Describe a network: trace it, check every symmetry by running it, fix what fails.

    Example:
        >>> spec_of(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), (3,)).groups
        (4,)

    Args:
        network: Any module of known operations; it is not changed.
        input_shape: Shape of one input without the batch axis.

    Returns:
        A spec all of whose groups were confirmed.

    Raises:
        SpecError: The code cannot be traced or does not run on this input shape.
    """
    spec = trace(network, tuple(input_shape))
    key = f"{type(network).__module__}.{type(network).__qualname__}:{spec.model_dump_json()}"
    if key not in _verified:
        verified, report = verify(network, spec)
        for check in report.failed:
            warnings.warn(_complaint(check), SymmetryWarning, stacklevel=2)
        _verified[key] = verified
        if len(_verified) > _MEMORY:
            _verified.popitem(last=False)
    return _verified[key]


_verified: OrderedDict[str, NetworkSpec] = OrderedDict()


def verify(
    network: nn.Module, spec: NetworkSpec, input_shape: tuple[int, ...] | None = None, seed: int = 0
) -> tuple[NetworkSpec, Report]:
    """Check each group of a spec by running permuted networks in float64.

    The network gets random weights, biases, norm scales and running statistics. Every group is
    permuted on its own, then all together; outputs must agree within 1e-9. As a negative control
    only one place that the group touches is permuted, which must change the outputs.

    Args:
        network: The module the spec was traced from; it is not changed.
        spec: A proposed spec.
        input_shape: Shape of one input; the spec's own by default.
        seed: Seed of weights, inputs and permutations.

    Returns:
        The spec with failing groups fixed, and what was measured.

    Raises:
        SpecError: The spec has no input shape, or the network does not run.
    """
    shape = tuple(input_shape) if input_shape is not None else spec.input_shape
    if shape is None:
        raise SpecError("The spec has no input shape.", todo="Pass input_shape, for example (3, 32, 32).")
    runner = _Runner(network, spec, shape, seed)
    checks = [runner.check(group) for group in range(len(spec.groups))]
    kept, error = runner.together([check.group for check in checks if check.kept])
    checks = [GroupCheck(c.group, c.members, c.tensors, c.error, c.control, c.group in kept) for c in checks]
    return without_groups(spec, [c.group for c in checks if not c.kept]), Report(tuple(checks), error)


def without_groups(spec: NetworkSpec, groups: list[int]) -> NetworkSpec:
    """Fix the axes of some groups and number the others anew.

    Args:
        spec: The layout.
        groups: Numbers of the groups to remove.
    """
    if not groups:
        return spec
    left = [group for group in range(len(spec.groups)) if group not in groups]
    numbers: dict[int | None, int] = {group: number for number, group in enumerate(left)}

    def axis(old: Axis) -> Axis:
        found: list[Segment] = []
        for segment in old:
            group = numbers.get(segment.group)
            if group is None and found and found[-1].group is None:
                found[-1] = Segment(members=found[-1].members + segment.size)
            elif group is None:
                found.append(Segment(members=segment.size))
            else:
                found.append(segment.replace(group=group))
        return tuple(found)

    tensors = tuple(tensor.replace(axes=tuple(axis(old) for old in tensor.axes)) for tensor in spec.tensors)
    return spec.replace(tensors=tensors, groups=tuple(spec.groups[group] for group in left))


class _Runner:
    """Runs one randomly initialized network under permutations."""

    def __init__(self, network: nn.Module, spec: NetworkSpec, shape: tuple[int, ...], seed: int) -> None:
        self.network = copy.deepcopy(network).to("cpu").double().eval()
        self.spec, self.seed = spec, seed
        generator = generator_of("verify", seed)
        self.values = _random_weights(self.network, spec, generator)
        self.inputs = _random_inputs(spec, shape, generator)
        self.outputs = self.run(self.values)

    def run(self, values: Float[Tensor, "1 params"]) -> Tensor:
        """Compute the outputs of one network given as a row."""
        named, kind = unflatten(values[0], self.spec), type(self.network).__name__
        try:
            with torch.no_grad(), InDouble():
                result = functional_call(self.network, named, (self.inputs,))
        except RuntimeError as error:
            raise SpecError(f"{kind} does not run in float64.", where=" ".join(str(error).split())) from error
        found = [t for t in _tensors(result) if t.is_floating_point()]
        if not found:
            raise SpecError(f"{kind} returns no floating tensor.")
        return torch.cat([t.reshape(-1) for t in found])

    def change(self, values: Float[Tensor, "1 params"]) -> float:
        """Measure the largest change of the outputs relative to the largest output."""
        scale = self.outputs.abs().max()
        change = ((self.run(values) - self.outputs).abs().max() / scale).item()
        return change if change == change else float("inf")

    def permutations(self, groups: list[int]) -> Permutations:
        """Move every member of some groups, by one random cycle each."""
        found = list(identity(self.spec, 1))
        for group in groups:
            order = torch.randperm(self.spec.groups[group], generator=generator_of("cycle", self.seed, group))
            found[group] = torch.empty_like(order).scatter_(0, order, order.roll(1))[None]
        return tuple(found)

    def check(self, group: int) -> GroupCheck:
        """Permute one group, then, as a control, only one of the places it touches."""
        perms = self.permutations([group])
        uses = uses_of(self.spec, group)
        error = self.change(permute(self.values, perms, self.spec))
        control = 0.0
        for tensor, axis in uses:
            for place, segment in enumerate(self.spec.tensors[tensor].axes[axis]):
                if segment.group == group and control <= _VISIBLE:
                    control = max(control, self.change(self._misuse(tensor, axis, place, perms)))
        names = tuple(dict.fromkeys(self.spec.tensors[tensor].name for tensor, _ in uses))
        kept = error <= _TOLERANCE and control > _VISIBLE
        return GroupCheck(group, self.spec.groups[group], names, error, control, kept)

    def together(self, groups: list[int]) -> tuple[list[int], float]:
        """Permute groups at once; if that fails, drop those that break it, one by one."""
        error = self.change(permute(self.values, self.permutations(groups), self.spec))
        if error <= _TOLERANCE:
            return groups, error
        kept: list[int] = []
        for group in groups:
            change = self.change(permute(self.values, self.permutations([*kept, group]), self.spec))
            if change <= _TOLERANCE:
                kept, error = [*kept, group], change
        return kept, error

    def _misuse(self, tensor: int, axis: int, place: int, perms: Permutations) -> Float[Tensor, "1 params"]:
        """Permute a single segment of a single axis: almost always wrong."""
        part = parts_of(self.spec)[tensor]
        alone = tuple(
            segment if number == place else Segment(members=segment.size)
            for number, segment in enumerate(part.axes[axis])
        )
        axes = tuple(alone if i == axis else (Segment(members=size),) for i, size in enumerate(part.shape))
        values = self.values.clone()
        block = values[:, part.start : part.stop]
        block.copy_(permute_tensor(block, replace(part, axes=axes, runs=(1,) * len(axes)), perms).flatten(1))
        return values


def _random_weights(
    network: nn.Module, spec: NetworkSpec, generator: torch.Generator
) -> Float[Tensor, "1 params"]:
    """Draw weights under which every tensor matters: nothing is zero or one by default."""
    state = network.state_dict()
    rows = []
    for tensor in spec.tensors:
        noise = torch.randn(tensor.size, generator=generator, dtype=torch.float64)
        moves = any(segment.group is not None for axis in tensor.axes for segment in axis)
        if tensor.role in ("norm_scale", "running_var"):
            rows.append(0.5 + noise.abs())
        elif tensor.role == "weight":
            rows.append(noise * _gain(tensor))
        elif tensor.role == "other" and not (moves or tensor.trainable):
            rows.append(state[tensor.name].reshape(-1))
        else:
            rows.append(0.5 * noise)
    return torch.cat(rows)[None] if rows else torch.zeros(1, 0, dtype=torch.float64)


def _gain(tensor: TensorSpec) -> float:
    """Scale weights so that activations keep their size through the layers."""
    fan_in = tensor.size // max(tensor.rows, 1)
    return (2.0 / max(fan_in, 1)) ** 0.5


def _random_inputs(spec: NetworkSpec, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw inputs: normal numbers, or indices into the smallest embedding."""
    first = spec.graph[0] if spec.graph else None
    if first is not None and first.attributes.get("dtype") == "int":
        rows = [tensor.rows for tensor in spec.tensors if tensor.role == "embedding"]
        return torch.randint(min(rows, default=2), (_QUERIES, *shape), generator=generator)
    return torch.randn(_QUERIES, *shape, generator=generator, dtype=torch.float64)


def _tensors(result: object) -> list[Tensor]:
    """List the tensors of a network's result."""
    if isinstance(result, Tensor):
        return [result]
    items = list(result.values()) if isinstance(result, dict) else result
    known = items if isinstance(items, (tuple, list)) else ()
    return [tensor for item in known for tensor in _tensors(item)]


def _complaint(check: GroupCheck) -> str:
    """Say which group failed and why."""
    why = (
        f"changes the outputs by {check.error:.1e}"
        if check.error > _TOLERANCE
        else "cannot be told from a wrong one"
        if check.control <= _VISIBLE
        else "fails together with other groups"
    )
    return f"Permuting {check.members} members of {', '.join(check.tensors)} {why}; these axes are fixed."
