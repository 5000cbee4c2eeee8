"""NetSpace's loss: populations equal a loop, gradients stay where they belong, legacy execution."""

import pytest
import torch
from torch.nn import functional as F

from tests.encoders import ladder
from weightatlas.encoders.io import create_encoder
from weightatlas.encoders.netspace import NetSpace
from weightatlas.errors import ConfigError
from weightatlas.objectives.distillation import knowledge
from weightatlas.objectives.interpolation import Between
from weightatlas.objectives.space import SpaceConfig, SpaceLoss, SpaceStep, execute
from weightatlas.population.forward import Population
from weightatlas.weights.batch import weights_of


def make(align: bool = False) -> NetSpace:
    encoder = create_encoder("netspace", ladder=ladder.specs(), dim=6, width=8, hidden=8, align=align)
    assert isinstance(encoder, NetSpace)
    encoder.adapt(ladder.batch())
    return encoder


def step_of(encoder: NetSpace, counts: tuple[int, ...] = (2, 1, 2), **changes: object) -> SpaceStep:
    batch, inputs = ladder.batch(counts), ladder.queries()
    codes = torch.cat([encoder.encode(group).codes for group in batch])
    rungs = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    teacher = F.one_hot(ladder.answers(inputs), 3).float().expand(len(codes), -1, -1)
    given = {"queries": inputs, "answers": ladder.answers(inputs), "targets": teacher, **changes}
    return SpaceStep(encoder, ladder.populations(), codes, rungs, **given)


def test_mixed_architectures_run_as_populations_equal_to_a_loop() -> None:
    encoder, inputs = make(), ladder.queries(9)
    codes = torch.randn(7, 1, 6, requires_grad=True)
    rungs = torch.tensor([2, 0, 1, 0, 2, 2, 1])
    outputs = execute(encoder, ladder.populations(), codes, rungs, inputs)
    cotangent = torch.randn_like(outputs)
    (found,) = torch.autograd.grad((outputs * cotangent).sum(), codes, retain_graph=True)
    singles = []
    for row, rung in enumerate(rungs.tolist()):
        spec = ladder.specs()[rung]
        weights = encoder.decode(codes[row : row + 1], spec).weights
        singles.append(Population(ladder.network(rung), spec, engine="loop")(weights, inputs))
    looped = torch.cat(singles)
    torch.testing.assert_close(outputs, looped, rtol=1e-5, atol=1e-5)
    (expected,) = torch.autograd.grad((looped * cotangent).sum(), codes)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_networks_may_have_queries_of_their_own() -> None:
    encoder, codes = make(), torch.randn(4, 1, 6)
    rungs, inputs = torch.tensor([1, 0, 1, 2]), torch.randn(4, 7, ladder.INPUTS)
    found = execute(encoder, ladder.populations(), codes, rungs, inputs, shared=False)
    for row in range(4):
        one = execute(encoder, ladder.populations(), codes[row : row + 1], rungs[row : row + 1], inputs[row])
        torch.testing.assert_close(found[row], one[0])


def test_the_terms_are_those_of_the_paper() -> None:
    encoder = make()
    step = step_of(encoder)
    config = SpaceConfig(against="teacher", total="sum")
    found = SpaceLoss(config)(step)
    outputs = execute(encoder, step.populations, step.codes, step.rungs, step.queries)
    kd = knowledge(outputs, step.targets, step.answers, 0.9, 4.0)
    scores = encoder.classify(step.codes)
    wrong = F.cross_entropy(scores, step.rungs, reduction="sum")
    torch.testing.assert_close(found["distillation"], kd.sum())
    torch.testing.assert_close(found["class"], wrong)
    total, e = torch.zeros(()), step.codes
    for small in (0, 1):
        for large in (3, 4):
            middle = 0.5 * (e[small] + e[large])[None]
            out = execute(encoder, step.populations, middle, torch.tensor([1]), step.queries)
            total = total + F.cross_entropy(encoder.classify(middle), torch.tensor([1]))
            total = total + knowledge(out, step.targets[:1], step.answers, 0.9, 4.0).sum()
    torch.testing.assert_close(found["interpolation"], total)
    torch.testing.assert_close(found["loss"], kd.sum() + wrong + total)


def test_weights_of_terms_and_pairs() -> None:
    encoder = make()
    step = step_of(encoder)
    plain = SpaceLoss(SpaceConfig(against="teacher", ladder=0.0))(step)
    assert "interpolation" not in plain
    one = SpaceLoss(SpaceConfig(against="teacher", pairs=1, ladder=2.0))(step)
    torch.testing.assert_close(one["loss"], plain["loss"] + 2 * one["interpolation"])


def test_an_even_batch_without_boundary_networks_has_nothing_to_interpolate() -> None:
    encoder = make()
    assert "interpolation" not in SpaceLoss(SpaceConfig(against="teacher"))(step_of(encoder, (0, 3, 0)))


def test_argmax_runs_the_predicted_architecture() -> None:
    encoder = make()
    step = step_of(encoder, (1, 1, 1))
    head = encoder.head
    assert head is not None
    with torch.no_grad():
        head[2].weight.zero_()
        head[2].bias.copy_(torch.tensor([0.0, 9.0, 0.0]))
    config = SpaceConfig(against="teacher", ladder=0.0, classes=0.0)
    legacy = SpaceLoss(config.replace(execute="argmax"))(step)
    as_predicted = SpaceStep(
        encoder, step.populations, step.codes, torch.ones(3).long(), step.queries, step.answers, step.targets
    )
    torch.testing.assert_close(legacy["loss"], SpaceLoss(config)(as_predicted)["loss"])
    assert not torch.isclose(legacy["loss"], SpaceLoss(config)(step)["loss"])


def test_no_gradient_reaches_originals_targets_or_queries() -> None:
    encoder = make(align=True)
    originals = ladder.values(0, 3).requires_grad_()
    targets = ladder.populations()[0](originals, ladder.queries())
    codes = encoder.encode(weights_of(originals.detach(), ladder.specs()[0])).codes
    step = SpaceStep(
        encoder, ladder.populations(), codes, torch.zeros(3).long(), ladder.queries(), None, targets
    )
    SpaceLoss(SpaceConfig())(step)["loss"].backward()
    assert originals.grad is None
    assert encoder.decoder.tokens.weight.grad is not None


def test_codes_between_networks_answer_like_the_ones_chosen() -> None:
    encoder = make()
    single = step_of(encoder, (3, 0, 0))
    between = Between(torch.tensor([1, 2, 0]), torch.tensor([0.0, 1.0, 0.5]), single.targets)
    step = SpaceStep(
        encoder,
        *(single.populations, single.codes, single.rungs, single.queries, None, single.targets, between),
    )
    found = SpaceLoss(SpaceConfig(between=0.5))(step)
    ends = torch.stack([step.codes[0], step.codes[0], 0.5 * (step.codes[2] + step.codes[0])])
    ends[1] = step.codes[2]
    out = execute(encoder, step.populations, ends, step.rungs, step.queries)
    named = F.cross_entropy(encoder.classify(ends), step.rungs)
    torch.testing.assert_close(found["interpolation"], knowledge(out, step.targets).mean() + named)
    torch.testing.assert_close(
        found["loss"], found["distillation"] + found["class"] + 0.5 * found["interpolation"]
    )
    with pytest.raises(ConfigError, match="originals"):
        SpaceConfig.build({"between": 1.0, "against": "teacher"})


@pytest.mark.parametrize(
    "other", [{"against": "teacher"}, {"between": 1.0}, {"performance": 1.0}, {"execute": "argmax"}]
)
def test_weights_are_compared_with_the_original_alone(other: dict) -> None:
    with pytest.raises(ConfigError, match="no network is executed"):
        SpaceConfig.build({"compare": "weights", **other})
