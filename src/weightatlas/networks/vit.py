"""A small vision transformer."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightatlas.errors import ConfigError
from weightatlas.networks.registry import activation_of, after, dropout_of, networks


class VitBlock(nn.Module):
    """Pre-norm self-attention and feed-forward layers (Dosovitskiy et al., 2021).

    Args:
        dim: Width.
        heads: Attention heads.
        hidden: Width of the feed-forward layer.
        activation: Its activation.
        dropout: Probability on both branches.
    """

    def __init__(self, dim: int, heads: int, hidden: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.up, self.act, self.down = (
            nn.Linear(dim, hidden),
            activation_of(activation),
            nn.Linear(hidden, dim),
        )
        self.drop1, self.drop2 = nn.Sequential(*dropout_of(dropout)), nn.Sequential(*dropout_of(dropout))

    def forward(self, x: Float[Tensor, "images tokens dim"]) -> Float[Tensor, "images tokens dim"]:
        x = x + self.drop1(self._attend(self.norm1(x)))
        return x + self.drop2(self.down(self.act(self.up(self.norm2(x)))))

    def _attend(self, x: Tensor) -> Tensor:
        images, tokens, dim = x.shape
        parts = self.qkv(x).reshape(images, tokens, 3, self.heads, dim // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        # Written out: torch's fused kernel has no form for many networks at once.
        scores = query @ key.transpose(-2, -1) / (dim // self.heads) ** 0.5
        mixed = torch.softmax(scores, dim=-1) @ value
        return self.out(mixed.transpose(1, 2).reshape(images, tokens, dim))


class Vit(nn.Module):
    """Patches, a class token, learned positions, blocks, and a head on the class token."""

    def __init__(
        self, channels: int, side: int, patch: int, dim: int, blocks: list[VitBlock], classes: int
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, dim, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        self.position = nn.Parameter(torch.zeros(1, side**2 + 1, dim))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, classes))

    def forward(self, x: Float[Tensor, "images channels height width"]) -> Float[Tensor, "images classes"]:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


@networks.register("vit")
def vit(
    channels_in: int = 1,
    image_size: int = 28,
    classes: int = 10,
    activation: str = "gelu",
    dropout: float = 0.0,
    patch: int = 4,
    dim: int = 24,
    depth: int = 2,
    heads: int = 3,
    widen: int = 2,
) -> Vit:
    """Small vision transformer: 12,274 parameters on 1x28x28, five times the 2,464-parameter CNN.

    Patches by a convolution, a class token, learned positions, pre-norm blocks, a head of two layers.

    Example:
        >>> sum(p.numel() for p in vit(dim=16, depth=6, heads=2).parameters())
        14906

    Args:
        channels_in: Channels of the image.
        image_size: Its side.
        classes: Outputs.
        activation: Of the feed-forward layers.
        dropout: Inside the blocks.
        patch: Side of a patch.
        dim: Width of a token.
        depth: Blocks.
        heads: Attention heads.
        widen: Width of the feed-forward layers in units of `dim`.

    Raises:
        ConfigError: Heads do not divide the width, or the patch is larger than the image.
    """
    if heads < 1 or dim % heads:
        raise ConfigError(f"dim={dim} is not a multiple of heads={heads}.")
    side = after(image_size, patch, patch)
    blocks = [VitBlock(dim, heads, widen * dim, activation, dropout) for _ in range(depth)]
    return Vit(channels_in, side, patch, dim, blocks, classes)
