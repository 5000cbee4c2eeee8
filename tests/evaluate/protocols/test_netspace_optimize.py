"""`bench netspace_optimize`: methods start at the same networks and see no test image before the end."""

import math

import pytest
import torch

from tests.evaluate.protocols.netspace import smoke
from weightatlas.evaluate.protocols import netspace_optimize as module
from weightatlas.evaluate.protocols import netspace_reconstruct
from weightatlas.evaluate.protocols.netspace_optimize import (
    BOTH,
    CODES,
    COLUMNS,
    FREE,
    STARTS,
    SUBSPACE,
    OptimizeBench,
    both,
    charts_of,
    netspace_optimize,
    single_records,
    starts,
)
from weightatlas.evaluate.protocols.netspace_reconstruct import ReconstructConfig
from weightatlas.evaluate.protocols.registry import settings_of
from weightatlas.latent.charts import free_chart
from weightatlas.latent.optimize import Optimized


@pytest.fixture(scope="module")
def records(netspace_cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("records") / "r.json"
    return netspace_optimize("smoke", out, (0,), netspace_cache)


def test_methods_stand_side_by_side(records) -> None:
    named = {(r.method, r.metric): r for r in records}
    for method, kind in ((CODES, "ours"), (BOTH, "ours"), (FREE, "baseline"), (SUBSPACE, "baseline")):
        assert all(named[method, metric].kind == kind for metric in COLUMNS)
        assert named[f"{method}, four architectures", "accuracy, step 3"].kind == kind
    assert named[CODES, "numbers moved"].value == named[SUBSPACE, "numbers moved"].value == 64
    assert named[FREE, "numbers moved"].value == 3818
    assert all(math.isfinite(r.value) for r in records)
    published = [r for r in records if r.kind == "published"]
    assert len(published) == 10


def test_baselines_start_at_the_originals_and_random_starts_at_the_same_networks(netspace_cache) -> None:
    there = smoke("netspace_digits", netspace_cache)
    settings = settings_of("netspace_reconstruct", "smoke", ReconstructConfig, {})
    encoder = netspace_reconstruct.trained(there, "netspace", 0, settings)
    field = netspace_reconstruct.single(there, settings.engine)
    codes, originals, names = starts(encoder, field, 1, 0)
    assert names == list(STARTS)
    order = field.scores["test"].argsort()
    assert torch.equal(originals[0], field.parts["test"][order[0]])
    charts = charts_of(encoder, field, codes, originals, 0)
    assert torch.equal(charts[FREE].decode(charts[FREE].start), originals)
    assert torch.equal(charts[SUBSPACE].decode(charts[SUBSPACE].start), originals)
    decoded = charts[CODES].decode(charts[CODES].start)
    torch.testing.assert_close(decoded[3], originals[3])


def test_networks_that_are_optimized_were_held_out_of_the_training(netspace_cache, monkeypatch) -> None:
    """Also where another number of networks is held out than usual."""
    there, seen = smoke("netspace_digits", netspace_cache), []

    def caught(encoder: object, field: object, each: int, seed: int) -> None:
        seen.append(field)
        raise InterruptedError

    monkeypatch.setattr(module, "starts", caught)
    settings = settings_of("netspace_optimize", "smoke", OptimizeBench, {"single_settings": {"held": 3}})
    with pytest.raises(InterruptedError):
        single_records(there, 0, settings)
    assert seen[0] is netspace_reconstruct.single(there, "batched", 3)


def test_all_weights_go_on_where_codes_stopped() -> None:
    """The second half sees images of its own, and both halves together take all steps."""
    calls = []

    def learn(method: str, chart: object, begin: int = 0, end: int = 0) -> Optimized:
        calls.append((method, begin, end))
        start = torch.full((1, 2), float(begin))
        return Optimized(start, start, [0, end - begin], torch.zeros(2, 1))

    found = both(learn, free_chart(torch.zeros(1, 2)), 5)
    assert calls == [(CODES, 0, 2), (FREE, 2, 5)]
    assert found.checks == [0, 2, 5]
    assert found.weights.tolist() == [[2.0, 2.0]]
