"""`bench downstream`: curves and ensembles of every method, from early checkpoints alone."""

from copy import deepcopy

import pytest
import torch

from weightatlas.evaluate.protocols.downstream import (
    FRESH,
    OURS,
    DownstreamConfig,
    downstream,
    early_anchors,
    ensemble_accuracy,
    imitators,
)
from weightatlas.latent.refine import RefineConfig
from weightatlas.population.forward import Population
from weightatlas.results import Record
from weightatlas.runtime import generator_of

METHODS = {OURS, FRESH, "best zoo networks", "noise 0.1 around anchors", "from scratch"}


@pytest.fixture(scope="module")
def records(there, cache, tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return downstream("smoke", tmp_path_factory.mktemp("downstream") / "r.json", (0,), cache)


def value(records: list[Record], method: str, metric: str) -> float:
    return next(r.value for r in records if (r.method, r.metric) == (method, metric))


def test_every_method_has_a_curve_and_an_ensemble(records):
    for method in METHODS:
        found = {r.metric for r in records if r.method == method}
        assert found == {"accuracy after 0", "accuracy after 1", "ensemble accuracy"}
    start = value(records, "best zoo networks", "accuracy after 0")
    assert value(records, "from scratch", "accuracy after 0") < start
    assert value(records, "from scratch", "accuracy after 1") > 0.05


def test_anchors_are_early_best_first_and_one_a_lineage(there):
    settings = DownstreamConfig(until=2, count=4, epochs=(0,), anchors=0.5)
    anchors = early_anchors(there, settings)
    rows = [int((there.train_values == row).all(1).nonzero()[0, 0]) for row in anchors]
    assert there.train.labels["step"][rows].max() <= 2
    scores = there.train.labels["val_acc"][rows]
    assert torch.equal(scores, scores.sort(descending=True).values)
    lineage = there.lineage("train")[rows].tolist()
    assert len(set(lineage)) == len(lineage)


def test_an_ensemble_of_one_network_is_that_network(there):
    best = there.train_values[there.best][None]
    alone = there.exam.accuracy(there.exam.classes(best))[0]
    assert ensemble_accuracy(there, best.repeat(3, 1), 3) == pytest.approx(float(alone))


def test_fresh_imitators_differ_in_their_start_alone(there):
    anchors, pool = there.train_values[:4], there.pool.inputs[:128]
    outputs = there.population.outputs_no_grad(anchors, pool)
    sets = []
    for sigma in (0.2, 0.4):
        config = RefineConfig(steps=8, batch=64)
        generator = generator_of("imitators")
        sets.append(imitators(there.population, anchors, outputs, pool, 3, generator, config, sigma))
    (near, fresh), (far, again) = sets
    assert torch.equal(fresh, again)  # the same mixtures and steps, wherever the others start
    assert not torch.equal(near, far)
    distances = [torch.cdist(each, anchors).amin(1).mean() for each in (near, far, fresh)]
    assert distances[0] < distances[1] < distances[2]


def test_fresh_networks_live_where_anchors_do(there):
    """Of one type and on one device with them, a GPU say: fresh weights are drawn on the processor."""
    anchors, pool = there.train_values[:4].double(), there.pool.inputs[:64].double()
    population = Population(deepcopy(there.network).double(), there.spec, engine="vmap")
    outputs = population.outputs_no_grad(anchors, pool)
    config = RefineConfig(steps=1, batch=32)
    near, fresh = imitators(population, anchors, outputs, pool, 2, generator_of("imitators"), config)
    assert near.dtype == fresh.dtype == torch.float64
