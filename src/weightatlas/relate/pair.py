"""Two networks in one frame: the second in the order, signs and scales of the first."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.relate.align import Aligned
from weightatlas.relate.canonical import Canonical, body_of
from weightatlas.relate.evidence import likeness, placed
from weightatlas.symmetry.permutation import Permutations
from weightatlas.symmetry.signs import rescale
from weightatlas.weights.spec import NetworkSpec

_MOVED = 0.1  # share of the likeness that must come from matching before units count as renumbered
_SAVED = 0.5  # share of the difference that undoing scales must remove before units count as rescaled
_FLIPPED = 0.05  # share of units whose signs differ before signs count as flipped


@dataclass(frozen=True)
class Pair:
    """Two networks whose numbers can be compared one by one.

    Args:
        first: The first network's numbers; folded if units were rescaled.
        second: The second's, in the order, signs and scales of the first.
        spec: Layout of both; where heads differ in shape, of the bodies.
        permuted: Whether units were renumbered.
        rescaled: Whether units were rescaled or changed sign.
        heads: Whether the vectors include heads.
        folded: Whether they are of networks whose norms were folded, which only one of them has.
    """

    first: Float[Tensor, " numbers"]
    second: Float[Tensor, " numbers"]
    spec: NetworkSpec
    permuted: bool
    rescaled: bool
    heads: bool
    folded: bool = False

    @property
    def difference(self) -> Float[Tensor, " numbers"]:
        """Second less first."""
        return self.second - self.first


def pair_of(
    raw: tuple[Float[Tensor, " params"], Float[Tensor, " params"]],
    specs: tuple[NetworkSpec, NetworkSpec],
    forms: tuple[Canonical, Canonical],
    aligned: Aligned,
) -> Pair:
    """Put a network into the frame of another.

    Args:
        raw: Both networks as they were stored.
        specs: Their layouts; they may differ in the head.
        forms: Both in canonical form, of one network each.
        aligned: The second's body in the order of the first's.
    """
    first, second = forms
    reference, stored = first.bodies[0], second.bodies
    matched, perms, signs = aligned.values, aligned.perms, aligned.signs
    gain = float(likeness(matched, reference, first.body) - likeness(stored, reference, first.body))
    moved = gain > _MOVED * abs(float(likeness(matched, reference, first.body)))
    if not moved:
        perms = tuple(torch.arange(perm.shape[1])[None] for perm in perms)
        signs = tuple(torch.ones_like(sign) for sign in signs)
    plain = placed(second.folded, perms, signs, second.spec)
    balanced = placed(second.values, perms, signs, second.spec)
    same = specs[0].layout_id == specs[1].layout_id
    undone = balanced
    if same:
        undone = rescale(balanced, [1 / factor for factor in first.factors], first.spec, first.scalings)
    goal = first.folded[:, first.keep]
    far = _distance(plain[:, second.keep], goal)
    near = _distance(undone[:, second.keep], goal) if same else far
    scaled = far > 1e-8 and near < _SAVED * far
    flips = _share_flipped(signs)
    if scaled:
        return Pair(first.folded[0], undone[0], first.spec, _renumbered(perms), True, True)
    if not same:
        if body_of(specs[0])[0].layout_id != body_of(specs[1])[0].layout_id:
            both = first.folded[0, first.keep], plain[0, second.keep]
            return Pair(*both, first.body, moved and _renumbered(perms), flips > _FLIPPED, False, True)
        return _bodies(raw, specs, perms, signs, moved)
    moved_raw = placed(raw[1][None], perms, signs, specs[1])[0]
    return Pair(raw[0], moved_raw, specs[0], _renumbered(perms), flips > _FLIPPED, True)


def _bodies(
    raw: tuple[Tensor, Tensor],
    specs: tuple[NetworkSpec, NetworkSpec],
    perms: Permutations,
    signs: tuple[Tensor, ...],
    moved: bool,
) -> Pair:
    """Pair networks whose heads have other shapes."""
    (body, keep), (_, other) = (body_of(spec) for spec in specs)
    second = placed(raw[1][None], perms, signs, specs[1])[0]
    flips = _share_flipped(signs) > _FLIPPED
    return Pair(raw[0][keep], second[other], body, moved and _renumbered(perms), flips, False)


def _distance(first: Tensor, second: Tensor) -> float:
    """Squared distance relative to the second's size."""
    return float((first - second).double().square().sum() / second.double().square().sum().clamp_min(1e-30))


def _renumbered(perms: Permutations) -> bool:
    """Tell whether any unit has another number."""
    return any(bool((perm[0] != torch.arange(perm.shape[1])).any()) for perm in perms)


def _share_flipped(signs: tuple[Tensor, ...]) -> float:
    """Share of units with another sign."""
    units = sum(sign.shape[1] for sign in signs)
    return sum(int((sign < 0).sum()) for sign in signs) / max(units, 1)
