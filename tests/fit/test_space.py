"""Training a space of networks: it learns, forces pairs, continues bit for bit, refuses contradictions."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tests.encoders import ladder
from weightatlas.encoders.io import create_encoder
from weightatlas.encoders.prep_autoencoder import PrepAutoencoder
from weightatlas.errors import ConfigError, RunError
from weightatlas.fit.space import SpaceFit, fit_space
from weightatlas.fit.space_step import PairOrder, SpaceQueries
from weightatlas.networks import create_network
from weightatlas.objectives.space import SpaceConfig
from weightatlas.population.forward import Population
from weightatlas.population.initialize import initialize
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import Batch, batch_of


def make(single: bool = False) -> PrepAutoencoder:
    specs = ladder.specs()[:1] if single else ladder.specs()
    encoder = create_encoder("netspace", ladder=specs, dim=6, width=8, hidden=16)
    assert isinstance(encoder, PrepAutoencoder)
    return encoder


def queries(teacher: bool = True) -> SpaceQueries:
    inputs = ladder.queries(64)
    answers = ladder.answers(inputs)
    return SpaceQueries(inputs, answers, 3 * F.one_hot(answers, 3).float() if teacher else None)


def run(
    encoder: PrepAutoencoder | None = None, batch: Batch | None = None, out: Path | None = None, **settings
):
    config = {"batch": 6, "queries": 32, "lr": 5e-3, "forced": 1, "space": SpaceConfig(against="teacher")}
    encoder = encoder or make()
    return fit_space(
        encoder,
        batch or ladder.batch(),
        SpaceFit.build({**config, **settings}),
        out,
        queries=queries(),
        populations=ladder.populations()[: len(encoder.ladder)],
        validation=(ladder.batch((2,) if len(encoder.ladder) == 1 else (2, 2, 2), 5), queries(False)),
    )


def test_all_terms_fall_and_validation_measures_accuracies() -> None:
    found = run(passes=30, validate_every=15)
    first, last = found.history[0], found.history[-1]
    for term in ("distillation", "class", "interpolation"):
        assert last[term] < 0.8 * first[term], term
    assert last["val/class"] > 0.9
    assert last["val/accuracy"] > 0.6
    assert 0 <= last["val/gap"] <= 1


def test_architectures_without_training_networks_are_learned_from_interpolation_alone() -> None:
    found = run(batch=ladder.batch((8, 0, 8)), passes=40, validate_every=0)
    encoder = found.encoder
    assert isinstance(encoder, PrepAutoencoder)
    first, last = (encoder.encode(group).codes for group in ladder.batch((8, 0, 8)).groups)
    middle = 0.5 * (first + last)
    assert (encoder.classes(middle) == 1).float().mean() > 0.9
    pool = queries()
    weights = encoder.decode(middle, ladder.specs()[1]).weights
    right = ladder.populations()[1](weights, pool.inputs).argmax(2) == pool.answers
    assert right.float().mean() > 0.6


def test_one_architecture_imitates_its_originals_and_codes_between_them() -> None:
    space = SpaceConfig(between=1.0, relative=True)
    found = run(make(single=True), ladder.batch((12,)), passes=60, space=space, validate_every=0)
    first, last = found.history[0], found.history[-1]
    assert last["distillation"] < 0.7 * first["distillation"]
    assert "interpolation" in last
    assert "class" not in last


@pytest.mark.parametrize("single", [True, False])
def test_weights_are_rebuilt_without_running_a_network(single: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a network was executed")

    monkeypatch.setattr(Population, "__call__", refuse)
    monkeypatch.setattr(Population, "outputs_no_grad", refuse)
    counts = (12,) if single else (6, 6, 6)
    settings = {"space": SpaceConfig(compare="weights"), "passes": 60, "validate_every": 0, "forced": 0}
    found = run(make(single), ladder.batch(counts), **settings)
    first, last = found.history[0], found.history[-1]
    assert last["weights"] < 0.7 * first["weights"]
    assert ("class" in last) is not single


def test_networks_that_represent_signals_are_compared_by_their_signals() -> None:
    network = create_network("siren", hidden=[6, 5])
    spec = spec_of(network, (2,))
    base = initialize(spec, torch.tensor([3]), "siren")
    values = base + 0.02 * torch.randn(12, spec.params)
    encoder = create_encoder("netspace", spec, dim=6, width=16, hidden=16)
    assert isinstance(encoder, PrepAutoencoder)
    grid = torch.cartesian_prod(*[torch.linspace(-1, 1, 9)] * 2)
    config = SpaceFit(passes=40, batch=6, queries=64, lr=1e-2, space=SpaceConfig(compare="signal"))
    found = fit_space(
        encoder,
        batch_of(values, spec),
        config.replace(validate_every=20),
        queries=SpaceQueries(grid),
        populations=[Population(network, spec, engine="batched")],
        validation=(batch_of(values[:3], spec), SpaceQueries(grid)),
    )
    assert found.history[-1]["distillation"] < 0.8 * found.history[0]["distillation"]
    assert found.history[-1]["val/error"] > 0
    with pytest.raises(ConfigError, match="no classes"):
        SpaceConfig.build({"compare": "signal", "between": 1.0})


def test_interrupted_and_continued_equals_uninterrupted(tmp_path: Path) -> None:
    whole = run(passes=4, validate_every=2)
    run(passes=4, validate_every=2, out=tmp_path, max_seconds=1e-9)
    parts = run(passes=4, validate_every=2, out=tmp_path)
    assert parts.steps == whole.steps
    for name, value in whole.encoder.state_dict().items():
        assert torch.equal(value, parts.encoder.state_dict()[name]), name


def test_another_teacher_is_not_continued(tmp_path: Path) -> None:
    def again(teacher: torch.Tensor) -> None:
        pool = SpaceQueries(queries().inputs, queries().answers, teacher)
        config = SpaceFit(steps=1, batch=6, queries=32, space=SpaceConfig(against="teacher"))
        fit_space(make(), ladder.batch(), config, tmp_path, queries=pool, populations=ladder.populations())

    teacher = queries().teacher
    assert teacher is not None
    again(teacher)
    again(teacher)
    with pytest.raises(RunError, match="the queries are others"):
        again(-teacher)


def test_every_step_has_a_boundary_pair_and_a_pass_sees_every_network() -> None:
    order = PairOrder(ladder.batch((5, 5, 5)), 2, 0, forced=1)
    seen: dict[int, set[int]] = {}
    for step in range(order.steps):
        pieces = dict(order(step))
        assert {0, 2} <= set(pieces)
        for group, rows in pieces.items():
            assert len(rows.unique()) == len(rows)
            seen.setdefault(group, set()).update(rows.tolist())
    assert all(seen[group] == set(range(5)) for group in range(3))
    chance = PairOrder(ladder.batch((5, 5, 5)), 2, 0, forced=0)
    assert sum(len(rows) for _, rows in chance(0)) == 2


def test_contradictions_are_found_before_training() -> None:
    pool = queries(False)
    config = SpaceFit(steps=1, space=SpaceConfig(against="teacher"), select="val/gap")
    with pytest.raises(ConfigError) as error:
        fit_space(make(), ladder.batch(), config, queries=pool, populations=ladder.populations()[:2])
    for words in ("2 can be run", "teacher's outputs", "validation="):
        assert words in str(error.value)
    config = SpaceFit(steps=1, space=SpaceConfig(between=1.0))
    with pytest.raises(ConfigError, match="one architecture"):
        fit_space(make(), ladder.batch(), config, queries=pool, populations=ladder.populations())


def test_a_space_is_trained_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="a space is trained in one process, and 2 were started"):
        run(passes=1)
