"""Trees as text."""

from weightatlas.relate.drawing import text_of
from weightatlas.relate.tree import Edge, Tree


def test_branches_are_drawn():
    edges = (
        Edge(1, 0, None, ("pruned",), 0.0),
        Edge(2, 0, None, ("fine-tuned",), 0.0),
        Edge(3, 1, 2, ("merged",), 0.0),
    )
    lines = text_of(Tree(edges, (0, 4)), list("abcde")).splitlines()
    assert lines == ["a", "├─ b  (pruned)", "│  └─ d  (merged and c)", "└─ c  (fine-tuned)", "e"]


def test_families_come_first_and_many_lone_networks_are_counted():
    tree = Tree((Edge(25, 24, None, ("pruned",), 0.0),), tuple(range(25)))
    lines = text_of(tree, [f"n{row}" for row in range(26)]).splitlines()
    assert lines[:2] == ["n24", "└─ n25  (pruned)"]
    assert lines[2].startswith("24 networks without relatives")
    assert len(lines) == 3
