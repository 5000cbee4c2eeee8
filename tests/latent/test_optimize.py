"""Latent optimization: it gets better, freezes the decoder, chooses by validation, keeps to its class."""

import pytest
import torch
from torch.nn import functional as F

from tests.encoders import ladder
from weightatlas.encoders.io import create_encoder
from weightatlas.encoders.netspace import NetSpace
from weightatlas.errors import DataError
from weightatlas.latent.charts import free_chart, random_chart
from weightatlas.latent.optimize import Lessons, OptimizeConfig, code_chart, optimize, stays_in_class
from weightatlas.population.forward import Population
from weightatlas.population.score import score

SPEC = ladder.specs()[2]


def make() -> NetSpace:
    encoder = create_encoder("netspace", ladder=ladder.specs(), dim=6, width=8, hidden=8)
    assert isinstance(encoder, NetSpace)
    encoder.adapt(ladder.batch())
    assert encoder.decoder.affine.weight is not None
    with torch.no_grad():
        encoder.decoder.affine.weight.fill_(20.0)  # untrained codes hardly matter otherwise
    return encoder.eval()


def lessons(teacher: bool = True) -> Lessons:
    inputs, held = ladder.queries(96), torch.randn(60, ladder.INPUTS)
    answers = ladder.answers(inputs)
    outputs = 3 * F.one_hot(answers, 3).float() if teacher else None
    return Lessons(inputs, answers, outputs, held, ladder.answers(held))


@pytest.mark.parametrize("teacher", [True, False])
def test_codes_get_better_and_the_best_measured_one_is_returned(teacher: bool) -> None:
    encoder, given = make(), lessons(teacher)
    codes = torch.randn(5, 1, 6)
    config = OptimizeConfig(steps=60, batch=32, lr=0.3, every=20, temperature=1.0)
    found = optimize(code_chart(encoder, codes, SPEC), ladder.populations()[2], given, config)
    assert found.checks == [0, 20, 40, 60]
    assert found.curve.shape == (4, 5)
    again = score(ladder.populations()[2], found.weights, given.held_inputs, given.held_answers)["acc"]
    torch.testing.assert_close(again, found.curve.amax(0))
    assert again.mean() > found.curve[0].mean() + 0.1
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_the_class_penalty_keeps_codes_in_their_architecture() -> None:
    encoder = make()
    penalty = stays_in_class(encoder, SPEC)
    assert penalty is not None
    x = torch.randn(4, 6)
    expected = F.cross_entropy(encoder.classify(x[:, None]), torch.full((4,), 2), reduction="none")
    torch.testing.assert_close(penalty(x), expected)
    config = OptimizeConfig(steps=40, batch=32, lr=0.1, classes=30.0)
    found = optimize(
        code_chart(encoder, x[:, None], SPEC), ladder.populations()[2], lessons(), config, penalty
    )
    assert penalty(found.positions).mean() <= penalty(x).mean()
    single = create_encoder("netspace", SPEC, dim=6, width=8)
    assert stays_in_class(single, SPEC) is None  # type: ignore[arg-type]


def test_baselines_are_charts_of_the_same_kind() -> None:
    values = ladder.values(2, 3, seed=4)
    config = OptimizeConfig(steps=30, batch=32, every=30)
    for chart in (free_chart(values, lr=0.02), random_chart(values, values.mean(0), 6)):
        found = optimize(chart, ladder.populations()[2], lessons(), config)
        assert found.weights.shape == values.shape
        assert (found.curve.amax(0) >= found.curve[0]).all()


def test_a_network_does_not_depend_on_its_companions() -> None:
    encoder, given, codes = make(), lessons(), torch.randn(3, 1, 6)
    config = OptimizeConfig(steps=10, batch=32)
    run = lambda part: optimize(code_chart(encoder, part, SPEC), ladder.populations()[2], given, config)  # noqa: E731
    torch.testing.assert_close(run(codes).positions[:1], run(codes[:1]).positions, rtol=1e-4, atol=1e-5)


def test_a_run_in_two_halves_sees_the_inputs_of_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    run = Population.__call__

    def watched(self: Population, weights: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        seen.extend([inputs] if len(inputs) == 32 else [])  # validation looks at 60
        return run(self, weights, inputs)

    monkeypatch.setattr(Population, "__call__", watched)
    chart, given = free_chart(ladder.values(2, 1, seed=4)), lessons()
    for config in (OptimizeConfig(steps=4), OptimizeConfig(steps=2), OptimizeConfig(steps=2, begin=2)):
        optimize(chart, ladder.populations()[2], given, config.replace(batch=32, every=4))
    whole, halves = seen[:4], seen[4:]
    assert len(halves) == 4
    assert all(torch.equal(one, other) for one, other in zip(whole, halves, strict=True))
    assert not torch.equal(halves[0], halves[2])


def test_lessons_must_fit() -> None:
    given = lessons()
    wrong = Lessons(given.inputs[:7], given.answers, given.teacher, given.held_inputs, given.held_answers)
    with pytest.raises(DataError, match=r"\[7, 96, 96\]"):
        optimize(code_chart(make(), torch.randn(1, 1, 6), SPEC), ladder.populations()[2], wrong)
