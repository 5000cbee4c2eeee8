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
