"""Spectra against singular values computed the plain way, and against power laws of known exponent."""

import math

import pytest
import torch

from weightatlas.relate import spectra
from weightatlas.relate.spectra import power_law, spectrum_of


@pytest.mark.parametrize("shape", [(5, 12, 30), (5, 30, 12), (3, 20, 20)])
def test_norm_and_ranks_agree_with_the_singular_values(shape):
    matrices = torch.randn(shape)
    found = spectrum_of("w", matrices)
    sigma = torch.linalg.svdvals(matrices.double())
    share = sigma / sigma.sum(1, keepdim=True)
    assert torch.allclose(found.norm, sigma[:, 0])
    assert torch.allclose(found.stable_rank, sigma.square().sum(1) / sigma[:, 0].square())
    assert torch.allclose(found.effective_rank, (-(share * share.log()).sum(1)).exp())
    assert torch.allclose(found.flatness, sigma[:, -1] / sigma[:, 0], atol=1e-6)


@pytest.mark.parametrize("alpha", [2.0, 3.5])
def test_the_exponent_of_a_power_law_is_found(alpha):
    uniform = torch.rand(30, 600, dtype=torch.float64)
    values = (1 - uniform) ** (-1 / (alpha - 1))
    assert abs(power_law(values).median().item() - alpha) < 0.25


def test_the_fit_equals_a_written_out_loop():
    values = torch.rand(2, 40, dtype=torch.float64).exp()
    for row, found in zip(values, power_law(values).tolist(), strict=True):
        ordered, best = sorted(row.tolist()), (math.inf, math.nan)
        for start in range(len(ordered) - 7):
            tail = ordered[start:]
            alpha = 1 + len(tail) / sum(math.log(x / tail[0]) for x in tail)
            steps = [1 - (x / tail[0]) ** (1 - alpha) for x in tail]
            gaps = [max(abs(f - i / len(tail)), abs(f - (i + 1) / len(tail))) for i, f in enumerate(steps)]
            best = min(best, (max(gaps), alpha))
        assert found == pytest.approx(best[1], rel=1e-9)


def test_too_few_zero_or_infinite_values_have_no_exponent():
    assert torch.isnan(power_law(torch.rand(3, 9))).all()
    matrices = torch.randn(3, 12, 12)
    matrices[0], matrices[1, 0, 0] = 0, math.inf
    found = spectrum_of("w", matrices)
    assert found.norm[0] == 0
    assert torch.isnan(found.alpha[0])
    assert torch.isnan(found.norm[1])
    assert torch.isfinite(found.alpha[2])


def test_large_matrices_get_norm_and_stable_rank_only(monkeypatch):
    matrices = torch.randn(2, 40, 60) + 0.2
    exact = spectrum_of("w", matrices)
    monkeypatch.setattr(spectra, "LARGEST", 10)
    found = spectrum_of("w", matrices)
    assert torch.allclose(found.norm, exact.norm, rtol=1e-3)
    assert torch.allclose(found.stable_rank, exact.stable_rank, rtol=1e-2)
    assert torch.isnan(found.effective_rank).all()
