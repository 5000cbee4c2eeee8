"""`bench gap`: equally many trials for both losses, chosen on validation networks."""

import pytest
import torch

from weightatlas.evaluate.protocols.gap import CLOSED, Aid, aligned_stage, gap
from weightatlas.results import Record


@pytest.fixture(scope="module")
def records(there, cache, tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return gap("smoke", tmp_path_factory.mktemp("gap") / "r.json", (0, 1), cache)


def value(records: list[Record], method: str, metric: str, seed: int = 0) -> float:
    (found,) = [r for r in records if (r.method, r.metric, r.seeds) == (method, metric, (seed,))]
    return found.value


def test_both_losses_have_the_same_trials_and_the_best_on_validation_is_taken(records):
    for row in ("CS", "CSB"):
        trials = sorted({r.method for r in records if r.method.startswith(f"{row}, trial")})
        assert trials == [f"{row}, trial: rate 0.002, {how}" for how in ("aligned", "permuted views")]
        held = {trial: value(records, trial, "validation agreement") for trial in trials}
        winner = max(held, key=lambda trial: held[trial])
        assert value(records, row, "validation agreement") == held[winner]
    assert {r.method for r in records if r.kind == "baseline"} >= {"layer statistics + ridge"}


def test_the_share_is_of_what_the_structural_loss_leaves(records):
    for seed in (0, 1):
        low, high = (value(records, row, "agreement", seed) for row in ("CS", "CSB"))
        closed = value(records, CLOSED, "share of the gap closed", seed)
        assert closed * (1 - low) == pytest.approx(high - low)
    assert value(records, "CSB", "agreement", 0) != value(records, "CSB", "agreement", 1)


def test_aligned_networks_behave_as_before(there):
    ordered = aligned_stage(there)
    assert not torch.equal(ordered.test_values, there.test_values)
    assert torch.allclose(ordered.test_outputs, there.test_outputs, atol=1e-4)
    assert torch.equal(ordered.train_values[there.best], there.train_values[there.best])
    assert ordered.train.labels.keys() == there.train.labels.keys()
    assert str(Aid(lr=0.01, align=True)) == "rate 0.01, aligned"
