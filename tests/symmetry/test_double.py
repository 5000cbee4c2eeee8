"""Networks whose code casts, or makes constants, are compared in float64 like all others."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from weightatlas.symmetry.double import InDouble
from weightatlas.symmetry.verify import spec_of


class Scaled(nn.Module):
    """Reads bytes as pixels do, casting them first."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.b(F.relu(self.a(x.float() / 255)))


class Stated(Scaled):
    """Makes the first state of a recurrent layer itself."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 3, batch_first=True)

    def forward(self, x):
        h, _ = self.rnn(x[:, None], torch.zeros(1, x.size(0), 3))
        return self.b(F.relu(self.a(h[:, 0])))


class Rounded(Scaled):
    """Normalizes in float32, whatever its weights are."""

    def forward(self, x):
        h = self.a(x)
        wide = h.to(torch.float32)
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)
        return self.b(wide.type_as(h))


@pytest.mark.filterwarnings("ignore::weightatlas.weights.trace.OpaqueWarning")
@pytest.mark.parametrize("make", [Scaled, Stated, Rounded])
def test_groups_of_networks_that_cast_are_confirmed(make):
    assert spec_of(make(), (3,)).groups == (4,)


def test_only_float32_becomes_wider():
    with InDouble():
        kinds = [torch.arange(3).dtype, torch.ones(2, dtype=torch.bool).dtype, torch.zeros(2).half().dtype]
        assert torch.zeros(2, dtype=torch.float32).to(torch.float32).dtype == torch.float64
    assert kinds == [torch.int64, torch.bool, torch.float16]
    assert torch.zeros(2).dtype == torch.float32
