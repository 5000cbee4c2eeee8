"""Which tensors, and which whole networks, still look as before training."""

from collections import Counter
from collections.abc import Iterator
from math import prod

from torch import Tensor

from weightatlas.relate.findings import WHOLE, Finding
from weightatlas.relate.initializations import LEAST, bias_candidates, candidates, untrained
from weightatlas.weights.spec import TensorSpec

_CONSTANT = {"norm_scale": 1.0, "running_var": 1.0, "norm_shift": 0.0, "running_mean": 0.0, "bias": 0.0}
_SHORT = 8  # numbers a bias must have to speak for or against training


class Starts:
    """Compares tensors with initializations and collects votes for whole networks."""

    def __init__(self) -> None:
        self.votes: dict[int, Counter[str]] = {}
        self.judged = 0
        self.trained: set[int] = set()
        self.inputs: dict[int, int] = {}

    def look(self, tensor: TensorSpec, values: Tensor) -> Iterator[Finding]:
        """Compare one tensor of all networks.

        Args:
            tensor: What it is.
            values: Its numbers, a network a row.
        """
        if tensor.role == "weight" and len(tensor.shape) > 1:
            self.inputs[tensor.layer] = prod(tensor.shape[1:])
            yield from self._weight(tensor, values)
        elif tensor.role in _CONSTANT and tensor.size:
            yield from self._vector(tensor, values)

    def whole(self, networks: int) -> Iterator[Finding]:
        """Find networks all of whose weights fit one initialization and whose vectors do not object."""
        for row in range(networks if self.judged else 0):
            name, count = self.votes.get(row, Counter({"": 0})).most_common(1)[0]
            if row in self.trained or count < self.judged - self.judged // 10:
                continue
            text = f"{count} of {self.judged} matrices fit one initialization, {name}; biases and norms agree"
            yield Finding(row, WHOLE, "untrained", "warning", text)

    def _weight(self, tensor: TensorSpec, values: Tensor) -> Iterator[Finding]:
        self.judged += tensor.size >= LEAST
        matrices = values.reshape(len(values), tensor.shape[0], -1)
        for match in untrained(matrices, candidates(tensor.shape)):
            self.votes.setdefault(match.network, Counter()).update(match.fits)
            text = (
                f"cannot be told from {match.initialization.name} (scale {match.initialization.scale:.4g}): "
                f"distance {match.distance:.4f}, critical {match.critical:.4f}, {match.size:,} values"
            )
            severity = "warning" if match.strong else "note"
            yield Finding(match.network, tensor.name, "untrained", severity, text)

    def _vector(self, tensor: TensorSpec, values: Tensor) -> Iterator[Finding]:
        """Look at a vector beside a weight: still constant, still random, or changed by training."""
        start = _CONSTANT[tensor.role]
        still = (values == start).all(1)
        for row in still.nonzero()[:, 0].tolist():
            text = f"all {tensor.size:,} values are exactly {start:g}, as before training"
            yield Finding(row, tensor.name, "untrained", "note", text)
        changed = set((~still).nonzero()[:, 0].tolist())
        if tensor.role == "bias":
            known = bias_candidates(self.inputs.get(tensor.layer, 0))
            random = untrained(values[:, None], known, least=1)
            changed -= {match.network for match in random}
            if tensor.size < _SHORT and known:
                changed &= set((values.abs().amax(1) > known[0].scale).nonzero()[:, 0].tolist())
        self.trained |= changed
