"""Family trees are rebuilt from shuffled networks."""

from io import StringIO

import torch
from rich.console import Console

from tests.relate.small import NULL, drifted, mlp, networks
from weightatlas.progress import disable, enable
from weightatlas.relate.drawing import html_of, svg_of, text_of
from weightatlas.relate.grove import grow
from weightatlas.relate.tree import family_forest, family_tree

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


def test_progress_counts_pairs_of_all_layouts_with_the_time_left(monkeypatch):
    ticks, stream = iter(range(1000)), StringIO()
    monkeypatch.setattr("weightatlas.relate.tree._LONG", 3)
    values = networks(SPEC, 4)
    enable(Console(file=stream), interval=1.0, clock=lambda: next(ticks))
    try:
        found = family_forest([(values[:3], SPEC), (drifted(values[:1]).expand(3, -1), SPEC)], NULL)
    finally:
        disable()
    assert found.roots[:3] == (0, 1, 2)
    assert len(found.parents) == 2
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("comparing pairs of networks: 2/6 (33%)")
    assert "left" in lines[0]
    assert any(line.startswith("pricing arcs between relatives: ") for line in lines)
    assert lines[-1].startswith("comparing pairs of networks: done")


def test_pictures_hold_every_name_escaped():
    base = networks(SPEC, 1)
    values = torch.cat([base, drifted(base)])
    found = family_tree(values, SPEC, NULL)
    for picture in (svg_of(found, ["<a>", "b"]), html_of(found, ["<a>", "b"])):
        assert "&lt;a&gt;" in picture
        assert "fine-tuned" in picture
