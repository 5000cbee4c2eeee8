"""`bench intervals`: splits by family, every way to calibrate, resumable."""

from pathlib import Path

import numpy as np
import pytest
import torch

from weightatlas.errors import SpecError
from weightatlas.evaluate.protocols import intervals as module
from weightatlas.evaluate.protocols.intervals import WAYS, Divided, intervals, numbers_of, row, zoos_of
from weightatlas.evaluate.protocols.registry import settings_of


def test_smoke_tier_measures_every_way_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = cache / "intervals.json"
    records = intervals("smoke", out, (0,), cache, recipe="digits", across={})
    found = {(r.zoo, r.method, r.metric): r.value for r in records}
    for way in WAYS:
        assert 0 <= found["digits", f"{way}: layer statistics + boosting", "coverage"] <= 1
        assert found["digits", f"{way}: layer statistics + ridge", "width"] > 0
    monkeypatch.setattr(module, "numbers_of", lambda *_: pytest.fail("measured again"))
    again = intervals("smoke", out, (0,), cache, recipe="digits", across={})
    assert len(again) == len(records)
    settings = settings_of("intervals", "smoke", module.IntervalsConfig, {})
    assert list(zoos_of(settings, "smoke", cache))[1:] == ["digits_cnn/digits", "digits_cnn/few digits"]


def test_families_stay_together_and_shares_are_kept() -> None:
    lineage = np.repeat(np.arange(40), 2).astype(str)
    data = Divided((torch.zeros(80, 1), torch.zeros(80, 1)), lineage, (0.5, 0.25))
    parts = data.split(0)
    assert [len(part) for part in parts] == [40, 20, 20]
    assert not set(lineage[parts[0].numpy()]) & set(lineage[parts[2].numpy()])
    assert not torch.equal(parts[0], data.split(1)[0])


def test_out_of_fold_covers_what_was_asked_on_average() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 6, generator=generator).double()
    y = x.sum(1, keepdim=True) + torch.randn(400, 1, generator=generator)
    data = Divided((x, y), np.arange(400).astype(str), (0.5, 0.1))
    settings = settings_of("intervals", "laptop", module.IntervalsConfig, {})
    found = [numbers_of(data, "ridge", settings, seed) for seed in range(20)]
    for way in WAYS[1:]:
        assert abs(np.mean([numbers[way][0] for numbers in found]) - 0.9) < 0.025


def test_features_that_refuse_a_zoo_stop_their_row_alone() -> None:
    def work(_: object) -> list[object]:
        raise SpecError("these networks have 6 layouts.")

    (found,) = row("park", "smoke", "layer statistics + ridge", work, None)  # type: ignore[arg-type]
    assert found.method == f"{WAYS[0]}: layer statistics + ridge"
    assert found.note == "these networks have 6 layouts."
