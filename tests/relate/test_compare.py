"""Verdicts on networks whose history is known."""

import re

import pytest
import torch
from scipy.stats import kstest
from torch import nn

from tests.relate.small import NULL, drifted, mlp, networks, resnet
from tests.relate.test_tensorwise import recurrent, rows, sines, stacked
from weightatlas.errors import DataError
from weightatlas.relate import family
from weightatlas.relate.calibrate import falling, stranger_scores
from weightatlas.relate.compare import _why_not, compare
from weightatlas.relate.null import Null
from weightatlas.relate.tensorwise import TensorEvidence
from weightatlas.relate.unmatched import bare_of
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.fold import fold_norms
from weightatlas.weights.infer import infer
from weightatlas.weights.spec import NetworkSpec

SPEC = mlp()
BASE, OTHER = networks(SPEC, 2)


def row(values):
    return values[None]


CASES = {
    "permuted": lambda b: family.permuted(row(b), SPEC, 3)[0],
    "rescaled": lambda b: family.rescaled(row(b), SPEC, 3)[0],
    "fine-tuned": drifted,
    "pruned": lambda b: family.pruned(row(b), SPEC, [0.6])[0],
    "quantized": lambda b: family.quantized(row(b), SPEC, "int8 per row")[0],
    "merged": lambda b: family.merged(row(b), row(OTHER), SPEC)[0],
    "head replaced": lambda b: family.headless(row(b), SPEC, 3)[0],
    "permuted + rescaled + fine-tuned": lambda b: family.permuted(
        family.rescaled(row(drifted(b)), SPEC, 1), SPEC, 2
    )[0],
    "permuted + fine-tuned + pruned": lambda b: family.permuted(
        family.pruned(row(drifted(b)), SPEC, [0.5]), SPEC, 2
    )[0],
}
DIRECTED = {"pruned", "quantized", "merged", "permuted + fine-tuned + pruned"}


@pytest.mark.parametrize("name", CASES)
def test_operations_are_named_and_directed(name):
    child = CASES[name](BASE)
    found = compare(BASE, child, SPEC, null=NULL)
    assert found.related is True
    assert found.verdict == name
    assert found.direction == ("first to second" if name in DIRECTED else None)
    back = compare(child, BASE, SPEC, null=NULL)
    assert set(back.changes) == set(found.changes)
    assert back.direction == ("second to first" if name in DIRECTED else None)


def test_long_training_that_moves_layers_unequally_is_no_merge():
    far = drifted(BASE)
    for scale, name in zip(
        (0.2, 0.9, 0.6), [t.name for t in SPEC.tensors if t.role == "weight"], strict=True
    ):
        part = SPEC.slices[name]
        far[part] = scale * far[part] + 0.3 * OTHER[part]
    assert compare(BASE, far, SPEC, null=NULL).changes == ("fine-tuned",)


def test_copies_that_were_trained_a_little_are_not_identical():
    assert compare(BASE, drifted(BASE, 1e-5), SPEC, null=NULL).verdict == "fine-tuned"


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "int8", "int4 per row"])
def test_precisions_are_told_apart(precision):
    found = compare(BASE, family.quantized(row(BASE), SPEC, precision)[0], SPEC, null=NULL)
    assert found.changes == ("quantized",)
    assert found.facts["precision"] == f"full, {precision}"


def test_strangers_are_independent_and_copies_identical():
    assert compare(BASE, OTHER, SPEC, null=NULL).state == "independent"
    assert compare(BASE, BASE.clone(), SPEC, null=NULL).state == "identical"


def test_flipped_signs_of_tanh_networks_are_undone():
    spec = mlp("tanh")
    base = networks(spec, 1)
    found = compare(base[0], family.permuted(family.rescaled(base, spec), spec)[0], spec, null=NULL)
    assert found.verdict == "permuted + rescaled"


def test_batch_norms_are_folded_away():
    spec = resnet()
    base = networks(spec, 2)
    moved = family.permuted(family.rescaled(base, spec), spec)
    assert compare(base[0], moved[0], spec, null=NULL).verdict == "permuted + rescaled"
    assert compare(base[0], base[1], spec, null=NULL).state == "independent"


def test_another_head_shape_is_a_replaced_head():
    from weightatlas.networks import create_network
    from weightatlas.symmetry.verify import spec_of

    other = spec_of(create_network("mlp", hidden=(20, 16), classes=4), (1, 8, 8))
    child = networks(other, 1, seed=5)[0]
    body = SPEC.offsets[-2]
    child[:body] = drifted(BASE)[:body]
    found = compare(BASE, child, SPEC, other, NULL)
    assert found.changes == ("fine-tuned", "head replaced")


def test_networks_without_a_graph_can_be_compared():
    bare = NetworkSpec(tensors=SPEC.tensors, groups=SPEC.groups)
    moved = family.permuted(family.rescaled(row(BASE), SPEC), SPEC)[0]
    assert compare(BASE, moved, bare, null=NULL).verdict == "permuted + rescaled"
    assert compare(BASE, OTHER, bare, null=NULL).state == "independent"


def test_units_that_keep_what_they_hold_are_no_kinship():
    """A layer that reads the stream it adds to has its diagonal in the same places of all networks."""
    spec = spec_of(Stream(), (12,))
    values = networks(spec, 3)
    for name in ("first.weight", "second.weight"):
        values[:, spec.slices[name]] += 1.5 * torch.eye(20).flatten()
    assert spec.groups == (20,)
    assert {compare(values[0], other, spec, null=NULL).state for other in values[1:]} == {"independent"}
    moved = family.permuted(drifted(values[:1]), spec)[0]
    assert compare(values[0], moved, spec, null=NULL).verdict == "permuted + fine-tuned"


class Stream(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Linear(12, 20), nn.Linear(20, 5)
        self.first, self.second = nn.Linear(20, 20), nn.Linear(20, 20)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.first(x).relu()
        x = x + self.second(x).relu()
        return self.head(x)


def test_tables_of_positions_are_no_kinship():
    def make(draw):
        shapes = {"embed": (50, 24), "l1": (24, 24), "l2": (24, 24), "head": (9, 24)}
        drawn = {f"{name}.weight": torch.randn(shape, generator=draw) for name, shape in shapes.items()}
        return {"embed_positions.weight": sines(400, 24), **drawn}

    values, spec = stacked(make, 3)
    assert spec.groups == (24,)
    assert {compare(values[0], other, spec, null=NULL).state for other in values[1:]} == {"independent"}
    assert compare(values[0], drifted(values[0]), spec, null=NULL).verdict == "fine-tuned"


def test_what_cannot_be_compared_is_undecided():
    lone = spec_without_hidden()
    first, second = networks(lone, 2)
    assert compare(first, second, lone, null=NULL).state == "undecided"
    other = compare(BASE, networks(mlp(), 1)[0][: lone.params], SPEC, lone, NULL)
    assert (other.state, other.compared) == ("undecided", "nothing")
    with pytest.raises(DataError, match="second network"):
        compare(BASE, BASE / 0, SPEC, null=NULL)


def test_recurrent_networks_are_compared_as_they_are_stored():
    values, spec = rows(recurrent, 2)
    assert compare(values[0], drifted(values[0]), spec).verdict == "fine-tuned"
    pruned = values[0] * (values[0].abs() > 0.1)
    found = compare(values[0], pruned, spec)
    assert (found.verdict, found.direction) == ("pruned", "first to second")
    strange = compare(values[0], values[1], spec)
    assert strange.state == "undecided"
    assert "renumbered" in strange.why
    assert (strange.compared, found.compared) == ("stored tensors", "stored tensors")
    assert strange.p_value > 1e-2


def test_bodies_are_compared_by_name_where_heads_have_other_shapes():
    values, spec = rows(recurrent, 1)
    other = {tensor.name: values[0][spec.slices[tensor.name]].view(tensor.shape) for tensor in spec.tensors}
    other |= {"out.weight": torch.ones(5, 16), "out.bias": torch.ones(5)}
    wide = infer(other).spec
    vector = torch.cat([other[tensor.name].flatten() for tensor in wide.tensors])
    assert compare(values[0], drifted(vector), spec, wide).verdict == "fine-tuned + head replaced"
    assert compare(values[0], vector, spec, wide).verdict == "head replaced"


def spec_without_hidden() -> NetworkSpec:
    from torch import nn

    from weightatlas.symmetry.verify import spec_of

    return spec_of(nn.Sequential(nn.Linear(6, 3)), (6,))


def test_the_stored_order_test_is_calibrated_even_for_relatives_that_were_renumbered():
    """Random renumbering of one and the same network is the null hypothesis, whatever the weights."""
    from weightatlas.relate.evidence import stored_order

    count = 400
    moved = permute(drifted(BASE).expand(count, -1), sample(SPEC, count), SPEC)
    found = stored_order(moved, BASE, SPEC)
    assert kstest(found.numpy(), "norm").pvalue > 1e-3
    assert float(stored_order(drifted(BASE)[None], BASE, SPEC)) > 15


def test_p_values_of_the_null_are_uniform_and_fall():
    scores = torch.randn(2000, generator=torch.Generator().manual_seed(0)) * 0.02
    null = Null.fit(scores, 100)
    fresh = torch.randn(2000, generator=torch.Generator().manual_seed(1)) * 0.02
    assert abs(float((null.p_value(fresh) <= 0.01).float().mean()) - 0.01) < 0.01
    p = null.p_value(torch.linspace(-0.1, 0.5, 50))
    assert bool((p.diff() <= 0).all())
    assert float(p[-1]) < 1e-12


def test_strangers_of_random_weights_score_about_zero():
    found = stranger_scores(networks(SPEC, 8), SPEC)
    assert len(found.scores) == 28
    assert abs(float(found.scores.mean())) < 0.03
    assert falling([(0.0, 0.5), (1.0, 0.1), (0.5, 0.6)])[0][1] > falling([(0.0, 0.5), (1.0, 0.1)])[-1][1]


def test_the_measured_null_comes_with_the_package():
    null = Null.default()
    assert null.pairs >= 1000
    assert compare(BASE, OTHER, SPEC).state == "independent"


def test_equal_layouts_without_certain_units_are_not_called_different_architectures():
    from weightatlas.weights.infer import infer

    spec = infer({"a.weight": (4, 3), "b.weight": (5, 3)}).spec
    first, second = torch.randn(2, spec.params, generator=torch.Generator().manual_seed(0))
    assert compare(first, second, spec, spec).why.startswith("No layer has hidden units that are certain")


@pytest.mark.parametrize(
    ("copied", "says"),
    [
        ((), "they are like strangers"),
        (("small.weight",), "^Less than 1 % of the weights are equal to the bit, the others like"),
        (("wide.weight",), "^45 % of the weights are equal"),
    ],
)
def test_small_shares_of_equal_weights_are_no_zero_percent(copied, says):
    shapes = {"wide.weight": (80, 100), "more.weight": (120, 80), "small.weight": (8, 12)}
    spec = bare_of(infer(shapes).spec)
    values = torch.randn(2, spec.params, generator=torch.Generator().manual_seed(0))
    for name in copied:
        values[1, spec.slices[name]] = values[0, spec.slices[name]]
    found = compare(*values, spec)
    assert found.state == "undecided"
    assert re.search(says, found.why), found.why
    assert "0 %" not in found.why.replace("45 %", "")


def test_what_is_more_alike_than_most_strangers_is_not_called_like_strangers():
    found = TensorEvidence(torch.tensor(1e-3), torch.tensor(0.1), torch.tensor(0.0), 3)
    assert "more alike than most strangers" in _why_not(found)
    table = TensorEvidence(torch.tensor(1.0), torch.tensor(1.0), torch.tensor(1.0), 0)
    assert "tables" in _why_not(table)
    few = TensorEvidence(torch.tensor(1.0), torch.tensor(0.5), torch.tensor(0.996), 0)
    assert _why_not(few).startswith(
        "More than 99 % of the weights are equal to the bit, the others too small"
    )


def test_layouts_that_differ_elsewhere_are_no_replaced_head():
    values, spec = rows(recurrent, 1)
    state = {tensor.name: values[0][spec.slices[tensor.name]].view(tensor.shape) for tensor in spec.tensors}
    states = {"extra.weight": torch.ones(5, 3), **state}, state
    specs = infer(states[0]).spec, infer(states[1]).spec
    vectors = [
        torch.cat([own[tensor.name].flatten() for tensor in spec.tensors])
        for own, spec in zip(states, specs, strict=True)
    ]
    found = compare(vectors[0], drifted(vectors[1]), *specs)
    assert found.verdict == "fine-tuned + other layout"
    assert found.facts["layouts differ in"] == "extra.weight 5 × 3 only in the first"
    nothing = compare(vectors[0], BASE, specs[0], SPEC)
    assert (nothing.state, nothing.compared) == ("undecided", "nothing")
    assert "only in the first" in nothing.why


def test_folded_norms_are_another_layout():
    spec = resnet()
    base = networks(spec, 1)
    folded, inner = fold_norms(base, spec)
    found = compare(base[0], family.permuted(folded, inner)[0], spec, inner, NULL)
    assert found.verdict == "permuted + other layout"
    assert "only in the first" in found.facts["layouts differ in"]
    assert compare(folded[0], base[0], inner, spec, NULL).verdict == "other layout"


def test_a_graph_that_one_network_has_holds_for_both():
    """A file of unknown code beside a row of a zoo: batch norms can be folded in both."""
    spec = resnet()
    base = networks(spec, 2)
    moved = family.permuted(family.rescaled(base, spec), spec)
    for specs in ((spec, spec.replace(graph=None)), (spec.replace(graph=None), spec)):
        assert compare(base[0], moved[0], *specs, NULL).verdict == "permuted + rescaled"
        assert compare(base[0], moved[1], *specs, NULL).state == "independent"


def test_networks_of_other_activations_are_treated_alike():
    moved = family.permuted(family.rescaled(row(BASE), SPEC), SPEC)[0]
    assert compare(BASE, moved, SPEC, mlp("tanh"), NULL).verdict == "permuted + rescaled"
    assert compare(BASE, moved, mlp("tanh"), SPEC, NULL).verdict == "permuted + rescaled"


def test_two_prunings_of_one_network_are_not_identical():
    draw = torch.Generator().manual_seed(5)
    first, second = (BASE * (torch.rand(len(BASE), generator=draw) > 0.5) for _ in range(2))
    found = compare(first, second, SPEC, null=NULL)
    assert (found.verdict, found.direction) == ("pruned", None)


def test_two_roundings_of_one_network_are_not_identical_and_have_no_direction():
    coarse = family.quantized(row(BASE), SPEC, "int8")[0]
    moved = family.quantized(row(drifted(BASE, 0.003)), SPEC, "int8")[0]
    assert int((coarse != moved).sum()) > 100
    found = compare(coarse, moved, SPEC, null=NULL)
    assert (found.verdict, found.direction) == ("quantized", None)
    for other in ("int8 per row", "bfloat16"):
        rounded = family.quantized(row(BASE), SPEC, other)[0]
        found = compare(coarse, rounded, SPEC, null=NULL)
        assert (found.verdict, found.direction) == ("quantized", None)


def test_huge_numbers_do_not_overflow():
    huge = 1e25 * networks(SPEC, 2)
    assert compare(huge[0], family.permuted(huge[:1], SPEC)[0], SPEC, null=NULL).verdict == "permuted"
    assert compare(huge[0], huge[1], SPEC, null=NULL).state == "independent"
