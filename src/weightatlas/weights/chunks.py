"""Windows of consecutive tokens, with context on both sides (halo)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import ConfigError


@dataclass(frozen=True, eq=False, slots=True)
class Windows:
    """Overlapping windows that cover a sequence once with their contents.

    Args:
        index: Token read at each place of each window, shape `(windows, length)`.
        window: Window that owns each token, shape `(tokens,)`.
        place: Place of each token inside its window, shape `(tokens,)`.
    """

    index: Int[Tensor, "windows length"]
    window: Int[Tensor, " tokens"]
    place: Int[Tensor, " tokens"]


def windows(tokens: int, size: int, halo: int = 0) -> Windows:
    """Plan windows of `size` own tokens and up to `halo` tokens of context per side.

    Every window has the same length, `min(tokens, size + 2 * halo)`: at the ends the context is
    taken from the other side, and a last short window is moved back, so that any number of
    tokens works (the released SANE code asserts instead).

    Example:
        >>> windows(tokens=5, size=2, halo=1).index.tolist()
        [[0, 1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4]]

    Args:
        tokens: Tokens in the sequence.
        size: Tokens a window owns.
        halo: Tokens of context on each side.

    Raises:
        ConfigError: A number is out of range.
    """
    if tokens < 1 or size < 1 or halo < 0:
        raise ConfigError(f"Windows need tokens >= 1, size >= 1, halo >= 0; got {tokens}, {size}, {halo}.")
    length = min(tokens, size + 2 * halo)
    own = torch.arange(0, tokens, size)
    start = (own - halo).clamp(min=0, max=tokens - length)
    index = start[:, None] + torch.arange(length)
    token = torch.arange(tokens)
    window = token // size
    return Windows(index, window, token - start[window])


def cut(
    tokens: Float[Tensor, "networks tokens width"], plan: Windows
) -> Float[Tensor, "networks windows length width"]:
    """Read the windows of each network's tokens."""
    return tokens[:, plan.index]


def join(
    pieces: Float[Tensor, "networks windows length width"], plan: Windows
) -> Float[Tensor, "networks tokens width"]:
    """Keep from each window the tokens it owns and drop its context."""
    return pieces[:, plan.window, plan.place]
