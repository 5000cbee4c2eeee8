"""Is a network healthy? NaN, dead units, untrained layers, collapsed ranks, exploding norms, duplicates."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.relate.findings import WHOLE, Finding, Kind
from weightatlas.relate.spectra import Spectrum, spectrum_of
from weightatlas.relate.starts import Starts
from weightatlas.weights.batch import Weights
from weightatlas.weights.spec import NetworkSpec, TensorSpec
from weightatlas.weights.vector import unflatten

_COLLAPSED = 0.1  # effective rank over full rank, below which a matrix counts as collapsed
_NARROW = 8  # full rank a matrix must have to collapse
_BLOWN = 30.0  # root mean square over that of a Kaiming initialization
_HUGE = 1e4  # size of a single number
_SMALLEST = 16  # numbers a tensor must have to count as a copy of another


@dataclass(frozen=True)
class Health:
    """What was found in networks of one spec.

    Args:
        networks: How many were looked at.
        findings: All findings, ordered by network, then by tensor.
        spectra: One summary per weight matrix, over all networks.
        coverage: Share of the numbers in weight matrices whose whole spectrum was computed.
    """

    networks: int
    findings: tuple[Finding, ...]
    spectra: tuple[Spectrum, ...] = ()
    coverage: float = 1.0
    _by_network: dict[int, list[Finding]] = field(default_factory=dict, repr=False)

    def of(self, network: int) -> list[Finding]:
        """Findings of one network."""
        if not self._by_network:
            for finding in self.findings:
                self._by_network.setdefault(finding.network, []).append(finding)
        return self._by_network.get(network, [])

    def verdict(self, network: int) -> str:
        """Sum up one network in a few words.

        Returns:
            "ok", or the kinds of findings with their counts, notes left out; "untrained" alone means that
            the whole network looks as if it was never trained.
        """
        found = [finding for finding in self.of(network) if finding.severity != "note"]
        whole = any(finding.tensor == WHOLE for finding in found)
        kinds = Counter(f.kind for f in found if f.tensor != WHOLE and not (whole and f.kind == "untrained"))
        return ", ".join([*(["untrained"] * whole), *(f"{n} {kind}" for kind, n in kinds.items())]) or "ok"


def examine(weights: Weights, *, spectra: bool = True) -> Health:
    """Look for what is wrong in networks of one spec, all at once.

    Example:
        >>> from weightatlas.weights.batch import weights_of
        >>> from weightatlas.weights.infer import infer
        >>> state = {"fc.weight": torch.tensor([[1.0, 2.0], [0.0, 0.0]])}
        >>> found = examine(weights_of(state["fc.weight"].reshape(1, -1), infer(state).spec))
        >>> print(found.findings[0])
        fc.weight: 1 of 2 units has only zero incoming weights (unit 0-based: 1)

    Args:
        weights: The networks; values may be NaN or infinite.
        spectra: Also compute singular values, the costly part.

    Returns:
        Findings that name tensors and numbers, and one spectrum per weight matrix.
    """
    return examine_tensors(unflatten(weights.values, weights.spec), weights.spec, spectra=spectra)


def examine_tensors(
    tensors: Mapping[str, Float[Tensor, "networks *shape"]], spec: NetworkSpec, *, spectra: bool = True
) -> Health:
    """Look for what is wrong, given stacked tensors; each is brought to float32 on its own.

    Args:
        tensors: Name -> tensor with a leading network axis, in any floating type.
        spec: Layout of the networks.
        spectra: Also compute singular values.
    """
    findings: list[Finding] = []
    found: list[Spectrum] = []
    starts = Starts()
    all_numbers, covered, networks = 0, 0, 0
    for tensor in spec.tensors:
        values = rows_of_numbers(tensors[tensor.name]).float()
        networks = len(values)
        clean = torch.isfinite(values).all(1)
        findings += _not_finite(tensor, values)
        values = values.masked_fill(~clean[:, None], math.nan) if not clean.all() else values
        own = [*_tensor_findings(tensor, values), *starts.look(tensor, values.nan_to_num())]
        findings += [finding for finding in own if clean[finding.network]]
        rows = prod(tensor.shape[:1]) if tensor.role == "weight" and len(tensor.shape) > 1 else 0
        if min(rows, tensor.size // max(rows, 1)) > 1:  # A single row has no spectrum to speak of.
            all_numbers += tensor.size
            if spectra:
                found.append(spectrum_of(tensor.name, values.reshape(networks, rows, -1)))
                covered += tensor.size * (not torch.isnan(found[-1].effective_rank).all() or not clean.any())
                findings += _collapsed(found[-1])
    findings += [*starts.whole(networks), *_duplicates(tensors, spec)]
    order = {tensor.name: place for place, tensor in enumerate(spec.tensors)}
    findings.sort(key=lambda f: (f.network, order.get(f.tensor.split(" = ")[0], 0)))
    share = covered / all_numbers if all_numbers else 1.0
    return Health(networks, tuple(findings), tuple(found), share)


def rows_of_numbers(values: Float[Tensor, "networks *shape"]) -> Float[Tensor, "networks numbers"]:
    """Lay out each network's numbers in a row; a scalar is one of them."""
    return values.reshape(len(values), values.shape[1:].numel())


def _not_finite(tensor: TensorSpec, values: Tensor) -> Iterator[Finding]:
    nans, infinite = torch.isnan(values).sum(1), torch.isinf(values).sum(1)
    for row in (nans + infinite).nonzero()[:, 0].tolist():
        text = f"{int(nans[row])} NaN and {int(infinite[row])} infinite of {values.shape[1]:,} values"
        yield Finding(row, tensor.name, "not finite", "error", text)


def _tensor_findings(tensor: TensorSpec, values: Tensor) -> Iterator[Finding]:
    """What one weight matrix alone tells."""
    if tensor.role != "weight" or len(tensor.shape) < 2:
        return
    zero = (values == 0).all(1)
    for row in zero.nonzero()[:, 0].tolist():
        yield Finding(row, tensor.name, "zero layer", "error", f"all {tensor.size:,} values are zero")
    yield from _dead(tensor, values, zero)
    yield from _exploding(tensor, values)


def _dead(tensor: TensorSpec, values: Tensor, zero: Tensor) -> Iterator[Finding]:
    """Output units without incoming weights, and input units that nobody reads."""
    rows = values.reshape(len(values), tensor.shape[0], -1)
    yield from _units(tensor, (rows == 0).all(2), zero, "dead units", "only zero incoming weights")
    if tensor.shape[1] < 2:
        return
    axis = tensor.axes[1]
    positions = axis[0].positions if len(axis) == 1 else 1
    members = tensor.shape[1] // positions
    columns = values.reshape(len(values), tensor.shape[0], members, -1)
    unread = (columns == 0).all(3).all(1)
    yield from _units(tensor, unread, zero, "unused units", "only zero outgoing weights")


def _units(tensor: TensorSpec, mask: Tensor, zero: Tensor, kind: Kind, what: str) -> Iterator[Finding]:
    for row in (mask.any(1) & ~zero).nonzero()[:, 0].tolist():
        units = mask[row].nonzero()[:, 0].tolist()
        listed = ", ".join(map(str, units[:8])) + (", …" if len(units) > 8 else "")
        verb = "has" if len(units) == 1 else "have"
        text = f"{len(units)} of {mask.shape[1]} units {verb} {what} (unit 0-based: {listed})"
        yield Finding(row, tensor.name, kind, "warning", text)


def _exploding(tensor: TensorSpec, values: Tensor) -> Iterator[Finding]:
    """Weights far larger than any initialization, or single huge numbers."""
    usual = (2 / max(prod(tensor.shape[1:]), 1)) ** 0.5
    size, largest = values.square().mean(1).sqrt(), values.abs().amax(1)
    for row in ((size > _BLOWN * usual) & (size > 1) | (largest > _HUGE)).nonzero()[:, 0].tolist():
        text = (
            f"root mean square {size[row]:.3g}, {size[row] / usual:.3g} times that of a Kaiming "
            f"initialization; largest {largest[row]:.3g}"
        )
        yield Finding(row, tensor.name, "exploding", "warning", text)


def _collapsed(spectrum: Spectrum) -> Iterator[Finding]:
    """Matrices whose singular values are concentrated on few directions, or all equal."""
    full = min(spectrum.rows, spectrum.columns)
    share = spectrum.effective_rank / full
    for row in ((share < _COLLAPSED) & (full >= _NARROW) & (spectrum.norm > 0)).nonzero()[:, 0].tolist():
        text = (
            f"effective rank {spectrum.effective_rank[row]:.2f} of {full}, stable rank "
            f"{spectrum.stable_rank[row]:.2f}, largest singular value {spectrum.norm[row]:.3g}"
        )
        yield Finding(row, spectrum.tensor, "rank collapse", "warning", text)
    for row in ((spectrum.flatness > 1 - 1e-4) & (full >= _NARROW)).nonzero()[:, 0].tolist():
        text = f"all {full} singular values are {spectrum.norm[row]:.4g}, as of an orthogonal initialization"
        yield Finding(row, spectrum.tensor, "untrained", "warning", text)


def _duplicates(tensors: Mapping[str, Tensor], spec: NetworkSpec) -> Iterator[Finding]:
    """Tensors of one network with equal numbers, those that are constant left out."""
    sizes: dict[int, list[TensorSpec]] = {}
    for tensor in spec.tensors:
        if tensor.size >= _SMALLEST:
            sizes.setdefault(tensor.size, []).append(tensor)
    for group in (group for group in sizes.values() if len(group) > 1):
        flat = [rows_of_numbers(tensors[tensor.name]) for tensor in group]
        sums = torch.stack([values.double().sum(1) for values in flat])
        varied = torch.stack([(values != values[:, :1]).any(1) for values in flat])
        for a, b in combinations(range(len(group)), 2):
            maybe = (sums[a] == sums[b]) & varied[a]
            for row in maybe.nonzero()[:, 0].tolist():
                if torch.equal(flat[a][row], flat[b][row]):
                    text = f"the same {group[a].size:,} numbers under two names"
                    name = f"{group[a].name} = {group[b].name}"
                    yield Finding(row, name, "duplicate", "warning", text)
