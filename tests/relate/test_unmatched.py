"""Kinship without symmetries, counted."""

from tests.relate.small import mlp
from weightatlas.relate.compare import Relation
from weightatlas.relate.unmatched import Unmatched, bare_of


def test_nothing_is_known_of_a_bare_layout():
    bare = bare_of(mlp())
    assert (bare.groups, bare.graph) == ((), None)
    assert bare.layout_id == mlp().layout_id


def test_rates_are_shares_of_pairs():
    import torch

    related, strange = Relation("related", ("pruned",)), Relation("undecided")
    pairs = [(related, ("pruned",)), (related, ("fine-tuned",)), (strange, ("pruned",)), (strange, ())]
    p = torch.tensor([1e-6, 0.5, 0.7], dtype=torch.float64)
    found = Unmatched(pairs, [related, strange], [strange], [p], [(0, 1), (0, 2), (1, 2)])
    values = {(method.split(", ")[1], metric): value for method, metric, value, _ in found.rows()}
    assert values["relatives as they were stored", "detected"] == 0.5
    assert values["relatives as they were stored", "changes named"] == 0.5
    assert abs(values["strangers", "called related"] - 1 / 3) < 1e-9
    assert (values["siblings", "called related"], values["distilled students", "called related"]) == (0.5, 0)
