"""Family trees are rebuilt from shuffled networks."""

import torch

from tests.relate.small import NULL, drifted, mlp, networks
from weightatlas.relate.drawing import html_of, svg_of, text_of
from weightatlas.relate.grove import grow
from weightatlas.relate.tree import family_tree

SPEC = mlp()


def test_grown_trees_are_rebuilt():
    """Drift here is independent noise, as where every child is trained on data of its own."""
    trees = grow(networks(SPEC, 1), SPEC, lambda x, time: drifted(x, 0.3, time), generations=2, each=4)
    right = sum(len(family_tree(tree.values, SPEC, NULL).arcs & tree.edges) for tree in trees)
    assert right >= 0.8 * sum(len(tree.edges) for tree in trees)


def test_strangers_are_all_roots():
    found = family_tree(networks(SPEC, 4), SPEC, NULL)
    assert found.roots == (0, 1, 2, 3)
    assert found.parents == {}


def test_an_average_has_two_parents():
    base = networks(SPEC, 2)
    values = [base[0], base[1], (base[0] + base[1]) / 2]
    found = family_tree(torch.stack(values), SPEC, NULL)
    assert found.arcs == {(0, 2), (1, 2)}
    assert found.edges[0].changes == ("merged",)
    assert "other-name" in text_of(found, ["a", "other-name", "mean"])


def test_pictures_hold_every_name_escaped():
    base = networks(SPEC, 1)
    values = torch.cat([base, drifted(base)])
    found = family_tree(values, SPEC, NULL)
    for picture in (svg_of(found, ["<a>", "b"]), html_of(found, ["<a>", "b"])):
        assert "&lt;a&gt;" in picture
        assert "fine-tuned" in picture
