"""Draw many networks and keep the good ones: subsampling and bootstrapping."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.encoders.base import Autoencoder
from weightatlas.errors import ConfigError
from weightatlas.latent.sample import sample
from weightatlas.latent.samplers import SampleConfig
from weightatlas.progress import track
from weightatlas.weights.spec import NetworkSpec

Scores = Callable[[Tensor], Float[Tensor, " networks"]]
DRAWS = 5  # networks drawn for each one kept


def subsample(
    encoder: Autoencoder,
    codes: Float[Tensor, "anchors codes width"],
    spec: NetworkSpec,
    count: int,
    generator: torch.Generator,
    scores: Scores,
    method: str = "kde_token",
    draws: int | None = None,
    settings: SampleConfig = SampleConfig(),  # noqa: B008 (frozen)
) -> tuple[Float[Tensor, "count params"], Float[Tensor, "count codes width"]]:
    """Draw more networks than are wanted and keep the best (SUB; SANE, ICML 2024: 50 drawn, 10 kept).

    Args:
        encoder: Any autoencoder that decodes weights.
        codes: Codes of the anchors.
        spec: Layout of the networks.
        count: How many to keep.
        generator: Source of randomness.
        scores: Networks as rows -> score of each, on *validation* data.
        method: How codes are drawn.
        draws: Networks drawn; five for each one kept by default, as published.
        settings: Of the method.

    Returns:
        The networks kept, best first, and their codes.

    Raises:
        ConfigError: Fewer networks are drawn than kept.
    """
    draws = DRAWS * count if draws is None else draws
    if draws < count:
        raise ConfigError(f"To keep {count} networks, at least as many must be drawn, not {draws}.")
    drawn = sample(codes, draws, generator, method, settings)
    with torch.no_grad():
        networks = torch.cat([encoder.decode(part, spec).weights for part in drawn.split(256)])
        best = scores(networks).nan_to_num(-torch.inf).topk(count).indices.to(networks.device)
    return networks[best], drawn[best]


def bootstrap(
    encoder: Autoencoder,
    codes: Float[Tensor, "anchors codes width"],
    spec: NetworkSpec,
    count: int,
    generator: torch.Generator,
    scores: Scores,
    method: str = "kde_token",
    first: str | None = None,
    rounds: int = 3,
    draws: int | None = None,
    settings: SampleConfig = SampleConfig(),  # noqa: B008 (frozen)
) -> tuple[Float[Tensor, "count params"], Float[Tensor, "count codes width"]]:
    """Subsample again and again around the best of the round before (BOOT; SANE, ICML 2024).

    The released code keeps the first networks of a round instead of the best and reuses its seed in every
    round; here the best are kept and every round draws anew.

    Args:
        encoder: Any autoencoder that decodes weights.
        codes: Codes of the anchors.
        spec: Layout of the networks.
        count: How many to keep.
        generator: Source of randomness.
        scores: Networks as rows -> score of each, on *validation* data.
        method: How codes are drawn around those of the round before; "prior" would forget them.
        first: How codes are drawn in the first round; "prior" starts without prompts (GAUSS).
        rounds: How often.
        draws: Networks drawn in each round; five for each one kept by default.
        settings: Of the method.

    Returns:
        The networks kept, best first, and their codes.

    Raises:
        ConfigError: There is no round, or fewer networks are drawn than kept.
    """
    if rounds < 1:
        raise ConfigError(f"Bootstrapping takes at least 1 round, not {rounds}.")
    networks = torch.empty(0)
    with track(rounds, "Selecting networks") as bar:
        for turn in range(rounds):
            how = first if first and turn == 0 else method
            networks, codes = subsample(encoder, codes, spec, count, generator, scores, how, draws, settings)
            bar.advance()
    return networks, codes
