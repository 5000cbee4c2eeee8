"""Rates as functions of progress, against torch's own OneCycle."""

import pytest
import torch

from weightatlas.fit.schedule import factor


def test_onecycle_equals_torch():
    steps = 50
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=1.0)
    # torch puts the peak at step pct * total - 1: 15 of 50, as ours.
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=2.0, total_steps=51, pct_start=16 / 51, div_factor=25, final_div_factor=1e4
    )
    seen = []
    for _ in range(steps):
        seen.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["betas"][0]))
        optimizer.step()
        reference.step()
    ours = [factor("onecycle", i / steps) for i in range(steps)]
    assert [2 * rate for rate, _ in ours] == pytest.approx([lr for lr, _ in seen])
    assert [momentum for _, momentum in ours] == pytest.approx([beta for _, beta in seen])
    assert factor("onecycle", 0.0)[0] == pytest.approx(1 / 25)
    assert factor("onecycle", 1.0)[0] == pytest.approx(1 / 250_000)


def test_cosine_warms_up_and_ends_at_zero():
    rates = [factor("cosine", i / 100, warmup=0.1)[0] for i in range(101)]
    assert rates[0] == 0.01
    assert rates[5] == pytest.approx(0.5)
    assert max(rates) == rates[10] == 1.0
    assert rates[100] == pytest.approx(0.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_constant_stays():
    assert {factor("constant", share, warmup=0.0)[0] for share in (0.0, 0.5, 1.0)} == {1.0}
