"""The fused step equals the written-out one, forward and backward."""

import pytest
import torch
from torch import Tensor

from weightatlas.encoders import spread as file
from weightatlas.encoders.spread import spread


def written_out(x: Tensor, point: Tensor, rows: Tensor, columns: Tensor, relu: bool):
    y = x @ point + rows[:, :, None] + columns[:, None]
    y = torch.relu(y) if relu else y
    return y, y.mean(2), y.mean(1)


def parts(count: int = 5, width_out: int = 7, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    shapes = (count, 3, 4, 6), (6, width_out), (count, 3, width_out), (count, 4, width_out)
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("chunk", [1, 200, 1 << 20])
@pytest.mark.parametrize("width_out", [7, 16])
def test_values_and_gradients(monkeypatch: pytest.MonkeyPatch, relu: bool, chunk: int, width_out: int):
    monkeypatch.setattr(file, "_CHUNK", chunk)
    given = parts(width_out=width_out)
    fused, plain = spread(*given, relu), written_out(*given, relu)
    weights = [torch.randn_like(y) for y in plain]
    for some in ((0, 1, 2), (0,), (1,), (2,), (1, 2), (0, 2)):
        losses = [sum((found[i] * weights[i]).sum() for i in some) for found in (fused, plain)]
        grads = [torch.autograd.grad(loss, given, retain_graph=True) for loss in losses]
        for one, two in zip(*grads, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)
    for one, two in zip(fused, plain, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


def test_gradcheck():
    assert torch.autograd.gradcheck(lambda *p: spread(*p, False), parts(2, 3))


def test_in_sixteen_bits():
    given = parts(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = spread(*given, True)
    assert any(not torch.equal(*pair) for pair in zip(fused, written_out(*given, True), strict=True))
    for one, two in zip(fused, written_out(*given, True), strict=True):
        torch.testing.assert_close(one.float(), two, rtol=0.05, atol=0.1)
    sum(y.float().sum() for y in fused).backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in given)


def test_no_networks():
    y, rows, columns = spread(*parts(0), True)
    assert (len(y), len(rows), len(columns)) == (0, 0, 0)
