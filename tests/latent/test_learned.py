"""Learned refinement starts as Adam, learns on training networks, and refines others."""

import torch

from tests.encoders.test_activation import made
from weightatlas.encoders.charts import Chart
from weightatlas.latent.charts import chart_of, free_chart
from weightatlas.latent.learned import LearnedSteps, learn_steps, refine_learned
from weightatlas.latent.refine import RefineConfig, refine
from weightatlas.population.forward import Population
from weightatlas.weights.batch import weights_of


def test_before_learning_the_rule_is_adam_with_cosine() -> None:
    encoder, network, spec, values = made("digits_cnn")
    run = Population(network, spec, engine="batched", workers=1)
    targets = run.outputs_no_grad(values, encoder.queries)
    config = RefineConfig(steps=8, batch=16)
    weights = weights_of(values, spec)
    rule = LearnedSteps(tuple(t.size for t in spec.tensors), lr=1e-3)
    ours = refine_learned(rule, chart_of(encoder, weights), run, targets, encoder.queries, config)
    adam = refine(chart_of(encoder, weights), run, targets, encoder.queries, config)
    # Adam moves single numbers with a tiny gradient by its sign, so rounding may move one of them elsewhere.
    assert (ours.weights - adam.weights).abs().mean() < 1e-5 < (adam.weights - values).abs().mean()
    torch.testing.assert_close(torch.tensor(ours.losses), torch.tensor(adam.losses), rtol=1e-3, atol=1e-6)


def test_learning_finds_a_better_rate_than_it_was_given() -> None:
    """Rows that start beside their originals, at a rate far too small: judged by last steps, it must grow."""
    encoder, network, spec, values = made("digits_cnn", count=6)
    run = Population(network, spec, engine="batched", workers=1)
    targets = run.outputs_no_grad(values, encoder.queries)

    def sets(turn: int) -> tuple[Chart, torch.Tensor]:
        rows = torch.arange(3) + 3 * (turn % 2)
        noise = 0.05 * torch.randn(3, spec.params, generator=torch.Generator().manual_seed(turn))
        return free_chart(values[rows] + noise, lr=1e-5), targets[rows]

    config = RefineConfig(steps=10, batch=32)
    rule = learn_steps(sets, run, encoder.queries, config, rounds=6, window=5, lr=0.1)
    assert rule.rates.exp().min() > 1.5e-5
