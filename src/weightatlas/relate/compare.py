"""Are two networks related, how, and how sure is that?"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import DataError
from weightatlas.relate.canonical import Canonical, canonical_form, part_of
from weightatlas.relate.changes import Changes, Direction, changes_of
from weightatlas.relate.evidence import Evidence, evidence
from weightatlas.relate.layouts import layout_difference
from weightatlas.relate.null import Null, p_values, score_of
from weightatlas.relate.pair import Pair, pair_of
from weightatlas.relate.tensorwise import TensorEvidence, tensor_evidence
from weightatlas.relate.traces import traces_of
from weightatlas.symmetry.scalings import scalings_of
from weightatlas.weights.spec import NetworkSpec

RELATED = 1e-4  # largest p-value at which networks are called related
_COMMON = 0.5  # share of the smaller network that must be common to compare it with another architecture
STRANGERS = 1e-2  # smallest p-value at which they are called independent

State = Literal["identical", "related", "undecided", "independent"]
Compared = Literal["matched units", "stored tensors", "nothing"]


@dataclass(frozen=True)
class Relation:
    """What the weights of two networks say about their kinship.

    Args:
        state: "identical", "related", "undecided" or "independent".
        changes: Operations between related networks: "permuted", "rescaled", "fine-tuned", "merged",
            "head replaced", "other layout", "pruned", "quantized".
        direction: Which network came first, if a trace tells.
        why: What tells the direction, or why nothing could be decided.
        p_value: How likely two independently trained networks are this alike.
        p_stored: The same from the stored order of units alone; exact, needs no calibration.
        p_matched: The same from matched units alone; calibrated on strangers.
        score: Likeness after matching: 0 for strangers, 1 for copies.
        compared: What was compared: units after matching them, or tensors in the order they are stored in.
        facts: Numbers behind the names of the changes; "layouts differ in" names tensors that only one has.
    """

    state: State
    changes: tuple[str, ...] = ()
    direction: Direction | None = None
    why: str = ""
    p_value: float = 1.0
    p_stored: float = 1.0
    p_matched: float = 1.0
    score: float = 0.0
    compared: Compared = "matched units"
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def related(self) -> bool | None:
        """True, False, or none where it could not be decided."""
        return {"undecided": None, "independent": False}.get(self.state, True)

    @property
    def verdict(self) -> str:
        """The relation in words."""
        return " + ".join(self.changes) if self.state == "related" else self.state

    def to_dict(self) -> dict[str, Any]:
        """Return all fields and the verdict, for JSON."""
        return {"verdict": self.verdict, **asdict(self)}

    def __str__(self) -> str:
        way = f", {self.direction}" if self.direction else ""
        return f"{self.verdict}{way} (p = {self.p_value:.1e})"


def compare(
    first: Float[Tensor, " params"],
    second: Float[Tensor, " others"],
    spec: NetworkSpec,
    other: NetworkSpec | None = None,
    null: Null | None = None,
) -> Relation:
    """Tell how two networks are related, from their weights alone.

    Both are folded, balanced and matched; see docs/methods/lineage.md. Independent means: the weights hold
    no trace of kinship. A student that was distilled into fresh weights is independent in this sense. Where
    no hidden units are certain, tensors are compared in the order they are stored in; networks are then never
    called independent, because they may have been renumbered.

    Example:
        >>> from weightatlas.symmetry.verify import spec_of
        >>> from torch import nn
        >>> spec = spec_of(nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 5)), (30,))
        >>> base = torch.randn(spec.params, generator=torch.Generator().manual_seed(0))
        >>> compare(base, base.half().float(), spec).verdict
        'quantized'

    Args:
        first: One network as a row of numbers.
        second: The other one.
        spec: Layout of the first.
        other: Layout of the second, if it is another. Hidden layers must be equal, or tensors alike in name
            and shape be at least half of the smaller network.
        null: What strangers look like; measured values of the package by default.

    Raises:
        DataError: A network is not finite.
    """
    specs, raw = _treated_alike(spec, other or spec), (first.float(), second.float())
    for name, vector in zip(("first", "second"), raw, strict=True):
        if not bool(torch.isfinite(vector).all()):
            raise DataError(f"The {name} network holds NaN or infinite values.", todo="Leave it out.")
    if specs[0].layout_id == specs[1].layout_id and torch.equal(*raw):
        return Relation("identical", p_value=0.0, p_stored=0.0, p_matched=0.0, score=1.0)
    if not all(max(spec.groups, default=0) > 1 for spec in specs):
        return _in_stored_order(raw, specs)
    forms = canonical_form(raw[0][None], specs[0]), canonical_form(raw[1][None], specs[1])
    if not comparable(*forms):
        return _in_stored_order(raw, specs)
    flips = forms[0].spec if specs[0].graph is not None else None
    found = evidence(forms[1].bodies, forms[0].bodies[0], forms[0].body, flips)
    return judge(raw, specs, forms, found, null or Null.default())


def comparable(first: Canonical, second: Canonical) -> bool:
    """Tell whether two networks have hidden units, and the same ones.

    Args:
        first: One network in canonical form.
        second: The other one.
    """
    same = first.body.layout_id == second.body.layout_id and first.body.groups == second.body.groups
    return same and max(first.body.groups, default=0) > 1


def _treated_alike(first: NetworkSpec, second: NetworkSpec) -> tuple[NetworkSpec, NetworkSpec]:
    """Choose what is assumed of two equally laid out networks, so that both get the same canonical form.

    If one layer graph is known, it holds for both. Where two graphs let other units be scaled, none does.
    """
    if first.layout_id != second.layout_id:
        return first, second
    if (first.graph is None) != (second.graph is None):
        known = second if first.graph is None else first
        return known, known
    if first.graph != second.graph and scalings_of(first) != scalings_of(second):
        return first.replace(graph=None), second.replace(graph=None)
    return first, second


def judge(
    raw: tuple[Float[Tensor, " params"], Float[Tensor, " others"]],
    specs: tuple[NetworkSpec, NetworkSpec],
    forms: tuple[Canonical, Canonical],
    found: Evidence,
    null: Null,
    row: int = 0,
) -> Relation:
    """Turn evidence into a verdict.

    Args:
        raw: Both networks as they were stored.
        specs: Their layouts.
        forms: Both in canonical form, of one network each.
        found: Evidence with the first network as reference.
        null: What strangers look like.
        row: Which network of the evidence the second one is.
    """
    joint, stored, matched = (float(p[row]) for p in p_values(found, null))
    numbers: dict[str, Any] = {
        "p_value": joint,
        "p_stored": stored,
        "p_matched": matched,
        "score": float(score_of(found)[row]),
    }
    if joint >= STRANGERS:
        return Relation("independent", **numbers)
    if joint > RELATED:
        return Relation("undecided", why="The units are more alike than those of most strangers.", **numbers)
    pair = pair_of(raw, specs, forms, found.aligned.rows(slice(row, row + 1)))
    changes = _changes(pair, raw, specs)
    state = "related" if changes.names else "identical"
    return Relation(state, changes.names, changes.direction, changes.why, **numbers, facts=changes.facts)


def _in_stored_order(raw: tuple[Tensor, Tensor], specs: tuple[NetworkSpec, NetworkSpec]) -> Relation:
    """Compare networks without certain hidden units by their common tensors, in the stored order."""
    common, differing = _common(*specs), layout_difference(*specs)
    if sum(specs[0].tensors[index].size for index in common[0]) < _COMMON * min(
        spec.params for spec in specs
    ):
        what = differing.text if differing else "nothing"
        why = f"Too little of both is alike in name and shape to be compared; they differ in {what}."
        return Relation("undecided", why=why, compared="nothing")
    same, both, spec = specs[0].layout_id == specs[1].layout_id, raw, specs[0]
    if not same:
        parts = [part_of(spec, indices) for spec, indices in zip(specs, common, strict=True)]
        both, spec = (raw[0][parts[0][1]], raw[1][parts[1][1]]), parts[0][0]
    found = tensor_evidence(both[1][None], both[0], spec)
    numbers: dict[str, Any] = {
        "p_value": float(found.p_value),
        "p_stored": float(found.p_value),
        "score": float(found.score),
        "compared": "stored tensors",
    }
    if numbers["p_value"] > RELATED:
        return Relation("undecided", why=_why_not(found), **numbers)
    pair = Pair(*both, spec, permuted=False, rescaled=False, heads=same)
    changes = _changes(pair, raw, specs)
    state = "related" if changes.names else "identical"
    return Relation(state, changes.names, changes.direction, changes.why, **numbers, facts=changes.facts)


def _why_not(found: TensorEvidence) -> str:
    """Say why nothing can be decided in the stored order."""
    equal = float(found.equal)
    if float(found.p_value) < STRANGERS:
        return "In the order they are stored in they are more alike than most strangers."
    if equal > 1 - 1e-9:
        return "All weights are equal to the bit, but they are tables that anybody makes alike."
    if equal:
        others = "like those of strangers" if found.tested else "too small for a test"
        return f"{_share(equal)} of the weights are equal to the bit, the others {others}."
    if not found.tested:
        return "No layer has hidden units that are certain, and all are too small for a test without them."
    return (
        "In the order they are stored in they are like strangers. Whether units were renumbered cannot be "
        "tested: no layer has hidden units that are certain."
    )


def _share(part: float) -> str:
    """Write a share that is neither nothing nor all.

    Example:
        >>> _share(0.001), _share(0.4), _share(0.999)
        ('Less than 1 %', '40 %', 'More than 99 %')
    """
    if part < 0.01:
        return "Less than 1 %"
    return "More than 99 %" if part > 0.99 else f"{100 * part:.0f} %"


def _common(first: NetworkSpec, second: NetworkSpec) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Indices of the tensors that both have: all in equal layouts, else those alike in name and shape."""
    if first.layout_id == second.layout_id:
        return tuple(range(len(first.tensors))), tuple(range(len(second.tensors)))
    known = {(t.name, t.shape, t.role): index for index, t in enumerate(second.tensors)}
    pairs = [
        (index, known[key])
        for index, tensor in enumerate(first.tensors)
        if (key := (tensor.name, tensor.shape, tensor.role)) in known
    ]
    return tuple(own for own, _ in pairs), tuple(other for _, other in pairs)


def _changes(pair: Pair, raw: tuple[Tensor, Tensor], specs: tuple[NetworkSpec, NetworkSpec]) -> Changes:
    traces = traces_of(raw[0], specs[0]), traces_of(raw[1], specs[1])
    return changes_of(pair, traces, layout_difference(*specs))
