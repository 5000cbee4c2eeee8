"""What operations on many networks have in common: the tape, its buffers, and how a step is written.

Every operation has its own backward pass. In the batched engine images are laid out as `(networks,
channels, height, width, batch)` and features as `(networks, features, batch)`. With the batch innermost,
unfolding copies long runs, pooling works on vectors, flattening is free, and every convolution is one
matrix product per network. A value that all networks share has `networks == 1`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from weightatlas.errors import ConfigError


class NoProgram(ConfigError):
    """The network uses an operation that has no batched form; other engines can run it."""


Grads = tuple[Tensor | None, ...]


class Workspace:
    """Buffers that are made once and used again in every step; one per thread.

    Fresh memory costs more than most operations here: the system hands it out page by page.
    """

    def __init__(self) -> None:
        self._held: dict[object, Tensor] = {}

    def take(
        self,
        key: object,
        shape: Sequence[int],
        like: Tensor,
        zero: bool = False,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Return the buffer of a key; new ones are zero if asked, old ones hold what was written last."""
        size, dtype = prod(shape), dtype or like.dtype
        key = (key, dtype, tuple(shape)) if zero else (key, dtype)  # another shape would move the zeros
        held = self._held.get(key)
        if held is None or held.numel() < size:
            make = torch.zeros if zero else torch.empty
            held = self._held[key] = make(size, dtype=dtype, device=like.device)
        return held[:size].view(tuple(shape))

    def numbers(self, without: str = "") -> int:
        """Count the numbers that all buffers hold, but for those whose key ends in a name."""
        return sum(b.numel() for key, b in self._held.items() if key[0][-1] != without)  # type: ignore[index]

    def bytes(self) -> int:
        """Count the bytes that all buffers hold."""
        return sum(buffer.nbytes for buffer in self._held.values())


@dataclass
class Tape:
    """What one pass remembers.

    Args:
        state: Tensors by name, shape `(networks, ...)`; dropout masks too.
        networks: How many networks run.
        work: Buffers to use.
        training: Whether norms use batch statistics and dropout applies.
        kept: Buffers of this pass alone, for what its backward pass reads; those of `work` if none.
        graded: Whether a backward pass may follow.
        grads: Gradients by tensor name, filled by the backward pass.
        statistics: New running statistics by name, filled by the forward pass in training.
    """

    state: dict[str, Tensor]
    networks: int
    work: Workspace
    training: bool = False
    kept: Workspace | None = None
    graded: bool = True
    grads: dict[str, Tensor] = field(default_factory=dict)
    statistics: dict[str, Tensor] = field(default_factory=dict)
    saved: dict[str, tuple] = field(default_factory=dict)

    def room(self, operation: "Operation", shape: Sequence[int], like: Tensor) -> Tensor:
        """Return memory for what an operation puts out, of this pass alone if its backward pass needs it."""
        work = self.kept if self.kept is not None and operation.lasts else self.work
        return work.take((operation.key, "out"), shape, like)

    def give(self, name: str, grad: Tensor) -> None:
        """Add to the gradient of a tensor."""
        self.grads[name] = self.grads[name] + grad if name in self.grads else grad


class Operation(ABC):
    """One step of a program.

    Args:
        name: Unique name; tensors of the layer are called `name.weight` and so on.
    """

    frees_output: ClassVar[bool] = False  # its backward pass does not look at what it put out
    frees_input: ClassVar[bool] = False  # its backward pass does not look at what came in
    passes: ClassVar[bool] = False  # it may put out the memory that came in

    def __init__(self, name: str) -> None:
        self.name = self.key = name  # a layer that is called twice gets another key per call
        self.leaves: tuple[str, ...] = ()  # tensors of the layer, without its name
        self.reuse = False  # nobody else needs the input: its memory may be written over
        self.lasts = True  # some backward pass looks at what it put out

    @abstractmethod
    def forward(self, tape: Tape, *xs: Tensor) -> Tensor:
        """Compute the output and save on the tape what backward needs."""

    @abstractmethod
    def backward(self, tape: Tape, grad: Tensor, needed: Sequence[bool]) -> Grads:
        """Write gradients of the layer's tensors to the tape; return those of the needed inputs."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors this operation reads."""
        return tuple(self.own(leaf) for leaf in self.leaves)

    def own(self, leaf: str) -> str:
        return f"{self.name}.{leaf}" if self.name else leaf


def summed(grad: Tensor, networks: int) -> Tensor:
    """Add up the gradients of a value that all networks shared."""
    return grad if len(grad) == networks else grad.sum(dim=0, keepdim=True)


def leaves_of(bias: bool) -> tuple[str, ...]:
    """Name the tensors of a layer with or without a bias."""
    return ("weight", "bias") if bias else ("weight",)


def even(total: int, most: int) -> int:
    """Choose a piece size of at most `most` that cuts `total` into nearly equal pieces.

    Example:
        >>> even(10, 4)
        4
        >>> even(9, 4)
        3
    """
    return -(-total // -(-total // most))
