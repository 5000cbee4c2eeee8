"""Small networks, one per structure that permutation must respect."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """Residual block with batch norm, a strided projection and functional activations."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv1, self.norm1 = nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.norm2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.short = nn.Sequential(nn.Conv2d(4, 6, 1, stride=2, bias=False), nn.BatchNorm2d(6))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        y = torch.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        y = (y + self.short(x)).relu()
        return self.head(y.mean((2, 3)))


class Padded(nn.Module):
    """Residual network whose shortcut pads channels with zeros, as CIFAR ResNets do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.head = (
            nn.Conv2d(1, 4, 3, padding=1),
            nn.Conv2d(4, 8, 3, 2, 1),
            nn.Linear(8, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.conv(F.relu(x)) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        return self.head(y.amax((2, 3)))


class Concat(nn.Module):
    """Dense connections: later layers read a concatenation; one part is flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (
            nn.Conv2d(1, 4, 3, padding=1),
            nn.Conv2d(4, 3, 3, padding=1),
            nn.Conv2d(7, 5, 1),
        )
        self.head = nn.Linear(5 * 4 + 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        a = F.silu(self.a(x))
        b = F.silu(self.b(a))
        c = F.adaptive_avg_pool2d(self.c(torch.cat([a, b], 1)), 2)
        return self.head(torch.cat([c.flatten(1), a.mean((2, 3))], dim=1))


class Attention(nn.Module):
    """Fused queries, keys and values, class token, learned positions, layer norm."""

    def __init__(self, heads: int = 3, width: int = 12) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.embed = nn.Linear(5, width)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.pos = nn.Parameter(torch.zeros(1, 5, width))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down, self.head = nn.Linear(width, 20), nn.Linear(20, width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), self.embed(x)], dim=1) + self.pos
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.out(y)
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return self.head(x[:, 0])


class ByHand(nn.Module):
    """Attention written with matmul, separate projections and an output gate."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(6, 8)
        self.gate, self.head = nn.Linear(6, 16), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens = x.size(0), x.size(1)
        q, k, v = (f(x).view(batch, tokens, 2, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
        weights = torch.softmax(q @ k.transpose(-2, -1) / 2.0, dim=-1)
        y = (weights @ v).transpose(1, 2).flatten(2)
        a, b = self.gate(x).chunk(2, dim=-1)
        return self.head(y * torch.sigmoid(a) + b).mean(1)


class Torch(nn.Module):
    """PyTorch's own attention modules."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.single = nn.MultiheadAttention(8, 1, batch_first=True, bias=False)
        self.block = nn.TransformerEncoderLayer(8, 2, 10, batch_first=True, norm_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        y, _ = self.single(x, x, x)
        return self.head(self.block(x + y).mean(1))


class Words(nn.Module):
    """Embedding of integers, weights tied between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).mean(1)
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)) + x)))


def mlp_layer_norm() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 8),
        nn.LayerNorm(8),
        nn.GELU(),
        nn.Dropout(0.5),
        nn.Linear(8, 6),
        nn.PReLU(),
        nn.Linear(6, 3),
    )


def cnn_flatten() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 5, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(5, 4, 2), nn.LeakyReLU(0.1), nn.Flatten(),
        nn.Linear(16, 7), nn.Tanh(), nn.Linear(7, 3),
    )  # fmt: skip


def grouped() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip


def depthwise() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(), nn.Conv2d(4, 8, 3, groups=4, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(), nn.Conv2d(8, 5, 1), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(5, 3),
    )  # fmt: skip


def group_norm() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.GroupNorm(2, 6), nn.ELU(), nn.Conv2d(6, 4, 3), nn.GroupNorm(1, 4), nn.SiLU(),
        nn.Conv2d(4, 4, 1), nn.InstanceNorm2d(4, affine=True), nn.Flatten(), nn.Linear(64, 3),
    )  # fmt: skip


def upsampling() -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(1, 4, 2), nn.ReLU(), nn.Conv2d(4, 12, 1), nn.PixelShuffle(2),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(3, 4, 3), nn.GLU(dim=1), nn.Conv2d(2, 2, 1),
    )  # fmt: skip


def volumes() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 4, 2), nn.BatchNorm3d(4), nn.Softplus(), nn.AvgPool3d(2), nn.Flatten(2),
        nn.Conv1d(4, 3, 1),
        nn.Flatten(), nn.Linear(3, 3),
    )  # fmt: skip


# name -> (constructor, input shape, sizes of the permutation groups)
class Numbers(nn.Module):
    """Tensors without axes and without entries beside ordinary ones."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)
        self.temperature = nn.Parameter(torch.tensor(0.5))
        self.register_buffer("nothing", torch.zeros(0))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.gelu(self.a(x)) * self.temperature)


ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[int, ...]]] = {
    "mlp_layer_norm": (mlp_layer_norm, (5,), (8, 6)),
    "cnn_flatten": (cnn_flatten, (1, 8, 8), (5, 4, 7)),
    "grouped": (grouped, (1, 8, 8), (4, 3, 3)),
    "depthwise": (depthwise, (1, 8, 8), (4, 5)),
    "group_norm": (group_norm, (1, 8, 8), (3, 3, 4, 4)),
    "upsampling": (upsampling, (1, 4, 4), (4, 3, 2)),
    "volumes": (volumes, (1, 3, 3, 3), (4, 3)),
    "residual": (Residual, (2, 6, 6), (4, 6, 6)),
    "padded": (Padded, (1, 6, 6), (4, 2, 2)),
    "concat": (Concat, (1, 6, 6), (4, 3, 5)),
    "attention": (Attention, (4, 5), (12, 3, 20)),
    "by_hand": (ByHand, (4, 6), (2,)),
    "torch_attention": (Torch, (4, 4), (8, 2, 8, 8, 2, 10)),
    "words": (Words, (4,), (6,)),
    "numbers": (Numbers, (3,), (4,)),
}


def build(name: str) -> tuple[nn.Module, tuple[int, ...], tuple[int, ...]]:
    """Build one architecture with random numbers in every tensor."""
    make, shape, groups = ARCHITECTURES[name]
    network = make()
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(
                    0.5 + torch.rand_like(tensor) if "var" in key else 0.4 * torch.randn_like(tensor)
                )
    return network.eval(), shape, groups


def inputs_for(name: str, shape: tuple[int, ...], count: int = 3) -> Tensor:
    """Draw random inputs of the right kind."""
    return torch.randint(11, (count, *shape)) if name == "words" else torch.randn(count, *shape)
