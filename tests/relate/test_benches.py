"""All benches are listed in one place."""

from weightatlas.relate.benches import benches, cards


def test_lineage_stands_beside_the_others():
    assert {"lineage", "losses", "rebuild"} <= set(benches.names())
    assert {"lineage", "losses", "rebuild"} <= set(cards)
