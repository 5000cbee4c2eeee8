"""Networks whose positions or time come from a formula and leave no tensor; each can be run on `shape`."""

import torch
import torch.nn.functional as F
from torch import nn


def sines(numbers, width):
    """Sines and cosines of numbers, the usual way to write positions and times."""
    rates = torch.exp(-torch.arange(0, width, 2, dtype=numbers.dtype) / width * 6.0)
    angles = numbers[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class SineEncoder(nn.Module):
    """PyTorch's own encoder over projected readings; the positions are computed."""

    shape = (5, 7)

    def __init__(self, width=16):
        super().__init__()
        self.input_proj = nn.Linear(7, width)
        layer = nn.TransformerEncoderLayer(width, 2, 24, dropout=0.0, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, 2)
        self.fc = nn.Linear(width, 3)

    def forward(self, x):
        x = self.input_proj(x)
        x = x + sines(torch.arange(x.shape[1], dtype=x.dtype), x.shape[2])
        return self.fc(self.transformer(x)[:, 0])


class TimedConvs(nn.Module):
    """A denoiser: the time is written as wide as the first convolution's channels."""

    shape = (3, 8, 8)

    def __init__(self, width=16):
        super().__init__()
        self.width = width
        self.init_conv = nn.Conv2d(3, width, 3, padding=1)
        self.time_mlp = nn.Sequential(nn.Linear(width, 40), nn.GELU(), nn.Linear(40, 1))
        self.final_conv = nn.Conv2d(width, 3, 1)

    def forward(self, x):
        time = self.time_mlp(sines(torch.full((len(x),), 3.0, dtype=x.dtype), self.width))
        return self.final_conv(F.relu(self.init_conv(x)) * time[:, :, None, None])


class StoredPositions(SineEncoder):
    """The same encoder with a learned table of positions."""

    def __init__(self, width=16):
        super().__init__(width)
        self.positional_encoding = nn.Parameter(torch.randn(1, 5, width))

    def forward(self, x):
        return self.fc(self.transformer(self.input_proj(x) + self.positional_encoding)[:, 0])
