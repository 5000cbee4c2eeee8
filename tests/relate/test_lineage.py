"""The bench at its smallest: everything is measured and recorded."""

from weightatlas.relate.benches import benches, cards
from weightatlas.relate.lineage import lineage
from weightatlas.relate.rates import clopper_pearson, clustered_upper


def test_smoke_measures_everything_once(tmp_path):
    small = {"strangers": 9, "calibration": 15, "related": 2, "students": 1, "generations": 1, "each": 2}
    out = tmp_path / "results.json"
    records = lineage("smoke", out, epochs=1, **small)
    found = {(record.method, record.metric): record for record in records}
    assert found["permuted", "detected"].value == 1.0
    assert found["strangers, same architecture", "called related"].n == 36
    assert found["distilled students, weights only", "called related"].value == 0.0
    assert found["merging, mean drop", "mean absolute error"].kind == "baseline"
    assert any(method.startswith("trees") for method, _ in found)
    assert found["hidden units forgotten, strangers", "called related"].value == 0.0
    assert found["hidden units forgotten, relatives as they were stored", "detected"].value == 1.0
    before = out.read_bytes()
    assert len(lineage("smoke", out, epochs=1, **small)) == len(records)
    assert out.read_bytes() == before
    assert "lineage" in benches.names()
    assert cards["lineage"].columns


def test_intervals():
    import numpy as np

    assert clopper_pearson(0, 100)[0] == 0.0
    assert abs(clopper_pearson(128, 128)[0] - 0.9716) < 1e-4
    pairs = np.array([(i, j) for i in range(20) for j in range(i)])
    none = clustered_upper(np.zeros(len(pairs), bool), pairs)
    assert none == clopper_pearson(0, 10)[1]
    one = (pairs == 3).any(axis=1)
    assert clustered_upper(one, pairs) > one.mean()
