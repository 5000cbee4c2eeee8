"""Generators are drawn by how good and how new their networks are, from records alone."""

from weightatlas.report.exhibits import draw
from weightatlas.report.frontier import frontier_of
from weightatlas.results import Record


def record(method: str, metric: str, value: float, kind: str = "ours") -> Record:
    about = {"bench": "b", "tier": "smoke", "zoo": "z", "seeds": (0,), "kind": kind}
    return Record.build({**about, "method": method, "metric": metric, "value": value})


RECORDS = [
    record("fresh", "median accuracy", 0.95),
    record("fresh", "nearest training network", 1.1),
    record("fresh", "good and new at 1x", 0.8),
    record("fresh", "good and new at 2x", 0.0),
    record("noise", "median accuracy", 0.94, "baseline"),
    record("noise", "nearest training network", 0.1, "baseline"),
    record("noise", "good and new at 1x", 0.0, "baseline"),
]


def test_methods_stand_where_their_records_say() -> None:
    spots, reaches = frontier_of(RECORDS)
    assert spots == {"fresh": (1.1, 0.95, True), "noise": (0.1, 0.94, False)}
    assert reaches == {"fresh": {1.0: 0.8, 2.0: 0.0}}
    lonely = frontier_of([record("alone", "median accuracy", 0.5)])
    assert lonely == ({}, {})


def test_the_frontier_is_drawn_where_there_are_no_curves() -> None:
    text = draw(RECORDS, "frontier")
    assert text is not None
    for word in ("good against new", "1  fresh", "2  noise", "share good and new"):
        assert word in text
    assert draw(RECORDS[:3], "one method is no frontier") is None
