"""Charts: start, decode, and what counts as a free number."""

import pytest
import torch

from tests.encoders.test_activation import made
from weightatlas.encoders.io import create_encoder
from weightatlas.errors import ConfigError
from weightatlas.latent.charts import chart_of, free_chart, offset_chart, random_chart
from weightatlas.population.forward import Population
from weightatlas.weights.batch import batch_of, weights_of


def test_random_subspace_is_an_orthogonal_projection() -> None:
    values, center = torch.randn(3, 20), torch.randn(20)
    chart = random_chart(values, center, numbers=7)
    once = chart.decode(chart.start)
    again = random_chart(once, center, numbers=7)
    assert torch.allclose(again.decode(again.start), once, atol=1e-5)
    assert ((values - once) * (once - center)).sum(1).abs().max() < 1e-4
    full = random_chart(values, center, numbers=20)
    assert torch.allclose(full.decode(full.start), values, atol=1e-5)
    with pytest.raises(ConfigError, match="1 to 20 dimensions"):
        random_chart(values, center, numbers=21)


def test_offsets_start_at_the_networks_and_move_them_along_one_subspace() -> None:
    values = torch.randn(3, 20)
    chart = offset_chart(values, numbers=7, seed=1)
    assert torch.equal(chart.decode(chart.start), values)
    moved = chart.decode(torch.eye(7)[:3]) - values
    same = random_chart(values, torch.zeros(20), numbers=7, seed=1).decode(torch.eye(7)[:3])
    torch.testing.assert_close(moved, same)
    assert chart.numbers == chart.start.shape[1] == 7


def test_code_charts_start_at_the_reconstruction() -> None:
    _, _, spec, values = made("digits_cnn")
    pca = create_encoder("pca", spec, latent=5)
    pca.adapt(batch_of(values, spec))
    chart = chart_of(pca, weights_of(values, spec))  # type: ignore[arg-type]
    assert torch.equal(chart.decode(chart.start), pca.reconstruct(weights_of(values, spec)))  # type: ignore[operator]
    assert chart.numbers == chart.start.shape[1] == 54 * 5


def test_activation_charts_settle_on_what_codes_can_express() -> None:
    encoder, network, spec, values = made("digits_cnn")
    chart = chart_of(encoder, weights_of(values, spec))
    assert chart.settle is not None
    run = Population(network, spec, engine="vmap")
    away = [chart.start + 0.01 * torch.randn_like(chart.start)]
    away.append(chart.settle(away[0]))
    shift = [
        (run(encoder.reconstruct(weights_of(w, spec)), encoder.queries) - run(w, encoder.queries)).norm()
        for w in away
    ]
    assert shift[1] < 0.3 * shift[0]
    assert chart.numbers == encoder.budget


def test_free_charts_move_copies() -> None:
    values = torch.randn(2, 5)
    chart = free_chart(values)
    chart.start += 1
    assert not torch.equal(chart.start, values)
    assert chart.numbers == 5
