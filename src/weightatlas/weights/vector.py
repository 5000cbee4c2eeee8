"""State dict <-> flat vector, original names and dtypes kept in a Signature."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.config import Config
from weightatlas.errors import DataError, SpecError, gather
from weightatlas.weights.spec import NetworkSpec

StateDict = Mapping[str, Tensor]
_COUNTER = "num_batches_tracked"

_DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
    **{name: getattr(torch, name) for name in dir(torch) if name.startswith("float8_")},
}


class Signature(Config):
    """What is needed to give a flat vector back as the state dict it came from.

    Args:
        names: Original key of each tensor of the spec, in order.
        dtypes: Original dtype of each tensor of the spec ("float32", "bfloat16", ...).
        aliases: Further keys per tensor that share its storage.
        constants: Integer and boolean buffers by key: (dtype, shape, values).
        order: All keys in the order of the original state dict.
    """

    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    aliases: tuple[tuple[str, ...], ...]
    constants: dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]] = {}
    order: tuple[str, ...] = ()

    @property
    def lossy(self) -> tuple[str, ...]:
        """Names of tensors that float32 cannot hold exactly (float64 originals)."""
        return tuple(n for n, d in zip(self.names, self.dtypes, strict=True) if d == "float64")

    @property
    def counters(self) -> tuple[int, ...]:
        """Batches that each batch norm has seen: the one thing here that differs between checkpoints."""
        return tuple(self.constants[name][2][0] for name in self._counting)

    def with_counters(self, counters: Sequence[int]) -> "Signature":
        """Return the signature of another checkpoint of the same kind.

        Args:
            counters: Batches each batch norm has seen; none sets them all to zero.
        """
        numbers = counters or [0] * len(self._counting)
        changed = dict(zip(self._counting, numbers, strict=True))
        known = {name: (*self.constants[name][:2], (number,)) for name, number in changed.items()}
        return self.replace(constants={**self.constants, **known})

    @property
    def _counting(self) -> list[str]:
        return [n for n, (_, shape, _) in self.constants.items() if n.endswith(_COUNTER) and shape == ()]


def signature_of(state: StateDict, spec: NetworkSpec) -> Signature:
    """Record names, dtypes, aliases and integer buffers of a state dict.

    Args:
        state: A state dict that fits `spec`.
        spec: Its layout.

    Raises:
        SpecError: A tensor is missing, unexpected or has another shape.
    """
    check(state, spec)
    constants = {
        name: (
            str(tensor.dtype).removeprefix("torch."),
            tuple(tensor.shape),
            tuple(tensor.flatten().tolist()),
        )
        for name, tensor in state.items()
        if not tensor.is_floating_point()
    }
    return Signature(
        names=tuple(tensor.name for tensor in spec.tensors),
        dtypes=tuple(str(state[tensor.name].dtype).removeprefix("torch.") for tensor in spec.tensors),
        aliases=tuple(tensor.aliases for tensor in spec.tensors),
        constants=constants,
        order=tuple(state),
    )


def check(state: StateDict, spec: NetworkSpec, *, where: str = "", finite: bool = False) -> None:
    """Compare a state dict with a spec and report every mismatch at once.

    Args:
        state: The state dict to look at.
        spec: The layout it should have.
        where: The file it came from, for the message.
        finite: Also refuse NaN and infinite values.

    Raises:
        SpecError: A tensor is missing, unexpected or has another shape.
        DataError: A value is not finite (with `finite`).
    """
    known = {name for tensor in spec.tensors for name in (tensor.name, *tensor.aliases)}
    problems = []
    for tensor in spec.tensors:
        if tensor.name not in state:
            problems.append(f"'{tensor.name}' {tensor.shape} is missing")
        elif tuple(state[tensor.name].shape) != tensor.shape:
            found = tuple(state[tensor.name].shape)
            problems.append(f"'{tensor.name}' has shape {found}, the spec says {tensor.shape}")
    for name, value in state.items():
        if value.is_complex():
            problems.append(f"'{name}' holds complex numbers, which rows of real numbers cannot")
        elif name not in known and value.is_floating_point():
            problems.append(f"'{name}' {tuple(value.shape)} is not in the spec")
    problems += _untied(state, spec)
    todo = "Import it as its own architecture, or pass the network these weights belong to."
    gather(SpecError, problems, where=where, todo=todo)
    if finite:
        bad = [(n, int((~torch.isfinite(state[n])).sum())) for n in (t.name for t in spec.tensors)]
        lines = [f"'{name}' holds {count} values that are NaN or infinite" for name, count in bad if count]
        gather(
            DataError, lines, where=where, todo="The training that made it diverged; leave this network out."
        )


def _untied(state: StateDict, spec: NetworkSpec) -> list[str]:
    """Find tensors that the spec says are one, yet hold different numbers: only one of them would be kept."""
    pairs = [(tensor.name, alias) for tensor in spec.tensors for alias in tensor.aliases]
    return [
        f"'{alias}' differs from '{name}', the spec says they are one tensor"
        for name, alias in pairs
        if name in state and alias in state and not _same(state[name], state[alias])
    ]


def _same(first: Tensor, other: Tensor) -> bool:
    if first.data_ptr() == other.data_ptr() or first.shape != other.shape:
        return first.shape == other.shape
    return torch.allclose(first, other.to(first), rtol=0, atol=0, equal_nan=True)


def flatten(states: Sequence[StateDict], spec: NetworkSpec) -> Float[Tensor, "networks params"]:
    """Stack state dicts into one float32 matrix, a network a row.

    Example:
        >>> import torch
        >>> from weightatlas.weights.spec import NetworkSpec, Segment, TensorSpec
        >>> axes = ((Segment(members=2),),)
        >>> bias = TensorSpec(name="b", shape=(2,), role="bias", axes=axes, layer=0)
        >>> spec = NetworkSpec(tensors=(bias,))
        >>> flatten([{"b": torch.tensor([1.0, 2.0])}], spec)
        tensor([[1., 2.]])

    Args:
        states: State dicts that all fit `spec`.
        spec: Their layout.

    Raises:
        SpecError: A state dict does not fit.
    """
    values = torch.empty(len(states), spec.params, dtype=torch.float32)
    for row, state in enumerate(states):
        check(state, spec, where=f"In state dict {row} of {len(states)}.")
        for tensor, start in zip(spec.tensors, spec.offsets, strict=True):
            values[row, start : start + tensor.size] = state[tensor.name].detach().reshape(-1).float()
    return values


def unflatten(values: Float[Tensor, "*networks params"], spec: NetworkSpec) -> dict[str, Tensor]:
    """View a matrix of networks as named tensors with leading network axes, without copying.

    Args:
        values: Networks as rows, or one network as a vector.
        spec: Their layout.

    Returns:
        Name -> tensor of shape `(*networks, *shape)`; gradients flow through.
    """
    if values.shape[-1] != spec.params:
        raise SpecError(f"The weights have {values.shape[-1]} numbers, the spec says {spec.params}.")
    leading = values.shape[:-1]
    return {
        tensor.name: values[..., start : start + tensor.size].reshape((*leading, *tensor.shape))
        for tensor, start in zip(spec.tensors, spec.offsets, strict=True)
    }


def to_state_dict(
    vector: Float[Tensor, " params"], spec: NetworkSpec, signature: Signature | None = None
) -> dict[str, Tensor]:
    """Turn one row into a plain state dict under its original names, dtypes and aliases.

    fp16, bf16 and fp32 originals come back bit for bit. Integer buffers come from the
    signature; without one, only floating tensors are returned.

    Args:
        vector: One network.
        spec: Its layout.
        signature: Names, dtypes and integer buffers of the original.
    """
    named = {name: tensor.detach().clone() for name, tensor in unflatten(vector, spec).items()}
    if signature is None:
        return {n: named[t.name] for t in spec.tensors for n in (t.name, *t.aliases)}
    result: dict[str, Tensor] = {}
    for tensor, name, dtype, aliases in zip(
        spec.tensors, signature.names, signature.dtypes, signature.aliases, strict=True
    ):
        value = named[tensor.name].to(_DTYPES[dtype])
        result |= dict.fromkeys((name, *aliases), value)
    for name, (dtype, shape, numbers) in signature.constants.items():
        result[name] = torch.tensor(numbers, dtype=getattr(torch, dtype)).reshape(shape)
    return {name: result[name] for name in signature.order} if signature.order else result
