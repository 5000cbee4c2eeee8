"""Every compressed set comes with its size and its agreement."""

import torch

from tests.evaluate.small import SPEC, exam, networks
from weightatlas.evaluate.rate import rate_records, storage_baselines
from weightatlas.evaluate.reference import reference_of


def test_the_curve_rises_with_the_bits() -> None:
    train, test = networks(30, seed=1), networks(8, seed=2)
    reference = reference_of(exam(), train, torch.rand(30), test)
    sets = list(storage_baselines(test, train, SPEC, numbers=(3,), code_bits=(16, 4)))
    assert len({item.name for item in sets}) == len(sets) == 1 + 5 + 3 + 2 + 4
    records = rate_records(sets, exam(), test, reference, bench="rate", tier="smoke", zoo="z", seeds=(0,))
    values = {(r.method, r.metric): r.value for r in records}
    assert {r.kind for r in records} == {"baseline"}
    integers = [values[f"int{bits} per channel", "excess agreement"] for bits in (2, 4, 8)]
    assert integers == sorted(integers)
    sizes = [values[f"int{bits} per channel", "bits per parameter"] for bits in (2, 4, 8)]
    assert sizes == sorted(sizes)
    assert values["fp16", "bits per parameter"] == 16
    assert values["mean network", "bits per network"] == 0
    assert values["nearest training network", "fixed megabytes"] == 30 * 51 * 4 / 1e6
    assert values["nearest training network", "excess agreement"] <= 0
