"""New codes near good ones: anchors, principal components, kernel densities."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.encoders.base import Autoencoder
from weightatlas.errors import ConfigError, DataError
from weightatlas.weights.spec import NetworkSpec

Method = Literal[
    "pca_kde",
    "pca_kde_joint",
    "pca_kde_legacy",
    "kde_dimension",
    "kde_token",
    "kde_joint",
    "kde_legacy",
    "neighborhood",
    "gaussian",
]
METHODS: tuple[Method, ...] = Method.__args__  # type: ignore[attr-defined]


def choose_anchors(
    scores: Float[Tensor, " networks"], share: float = 0.3, least: float | None = None
) -> Int[Tensor, " anchors"]:
    """Pick the best networks by validation accuracy; never pass test accuracies here.

    The published protocol takes anchors from the test split and scores their offspring on the same
    images; here the choice sees validation images only.

    Example:
        >>> choose_anchors(torch.tensor([0.1, 0.9, 0.5, 0.8]), share=0.5)
        tensor([1, 3])

    Args:
        scores: Validation accuracy of each training network.
        share: Share of the networks to keep.
        least: Also require this accuracy.

    Returns:
        Indices of the anchors, best first.

    Raises:
        DataError: No network qualifies.
        ConfigError: The share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"The share of anchors lies above 0 and at most at 1, not at {share:g}.")
    known = scores.nan_to_num(-torch.inf)
    count = max(round(share * len(scores)), 1) if len(scores) else 0
    best = known.topk(count).indices
    best = best[torch.isfinite(known[best]) & (known[best] >= (-torch.inf if least is None else least))]
    if not len(best):
        wanted = (
            "has a finite validation accuracy" if least is None else f"reaches {least:g} on validation data"
        )
        raise DataError(
            f"There are no anchors: none of {len(scores)} networks {wanted}.", todo="Ask for less."
        )
    return best


def sample(
    codes: Float[Tensor, "anchors codes width"],
    count: int,
    generator: torch.Generator,
    method: Method = "pca_kde",
    bandwidth: float = 0.2,
    components: int = 32,
    neighbors: int = 3,
) -> Float[Tensor, "count codes width"]:
    """Draw new codes from a density fitted on anchors.

    * `pca_kde`: 32 principal components of the flattened codes, a Gaussian kernel density for each
      component on its own (Structure Is Not Enough, section 4.3); `pca_kde_joint` draws whole anchors
      in that space, which keeps dependencies between components.
    * `kde_dimension`, `kde_token`, `kde_joint`: kernel density on the codes themselves, each number,
      each token or each network on its own (hyper-representations, NeurIPS 2022; SANE, ICML 2024).
    * `pca_kde_legacy`, `kde_legacy`: as the released code does it. It reuses one seed in every
      dimension, so that each draw is a whole anchor plus the same shift in all dimensions, and takes
      the bandwidth as absolute. Only for comparing numbers.
    * `neighborhood`: a point between an anchor and one of its nearest anchors.
    * `gaussian`: mean and standard deviation of each code number.

    Args:
        codes: Codes of the anchors.
        count: How many to draw.
        generator: Source of randomness; its device does not matter for the result's device.
        method: One of the above.
        bandwidth: Width of the kernel in standard deviations of each coordinate over anchors.
        components: Principal components, at most anchors - 1.
        neighbors: Nearest anchors considered by `neighborhood`.

    Raises:
        DataError: There are no anchors, or only one where spread is needed, or codes are not finite.
        ConfigError: The method is unknown.
    """
    _check(codes, method, count)
    if method == "neighborhood":
        return _between(codes, count, generator, neighbors)
    if method == "gaussian":
        noise = _normal((count, *codes.shape[1:]), generator, codes)
        return codes.mean(0) + codes.std(0) * noise
    if not method.startswith("pca"):
        return _kernel(codes, count, generator, method.removeprefix("kde_"), bandwidth)
    flat = codes.flatten(1)
    mean = flat.mean(0)
    _, _, directions = torch.linalg.svd((flat - mean).double(), full_matrices=False)
    basis = directions[: min(components, len(flat) - 1)].T.to(flat)
    points = ((flat - mean) @ basis)[:, None, :]
    mode = method.removeprefix("pca_kde").removeprefix("_") or "dimension"
    drawn = _kernel(points, count, generator, mode, bandwidth)[:, 0]
    return (drawn @ basis.T + mean).view(count, *codes.shape[1:])


def generate(
    encoder: Autoencoder,
    codes: Float[Tensor, "anchors codes width"],
    spec: NetworkSpec,
    count: int,
    generator: torch.Generator,
    method: Method = "pca_kde",
    bandwidth: float = 0.2,
    chunk: int = 256,
) -> Float[Tensor, "count params"]:
    """Draw codes near anchors and decode them to new networks.

    Args:
        encoder: Any autoencoder that decodes weights.
        codes: Codes of the anchors, from `encoder.encode`.
        spec: Layout of the networks to make.
        count: How many.
        generator: Source of randomness.
        method: See `sample`.
        bandwidth: See `sample`.
        chunk: Networks decoded at a time.

    Returns:
        Ready-to-use networks as rows.
    """
    drawn = sample(codes, count, generator, method, bandwidth)
    with torch.no_grad():
        return torch.cat([encoder.decode(part, spec).weights for part in drawn.split(chunk)])


def noise_around(
    values: Float[Tensor, "anchors params"],
    count: int,
    generator: torch.Generator,
    spec: NetworkSpec,
    sigma: float = 0.1,
) -> Float[Tensor, "count params"]:
    """Copy random anchors and add Gaussian noise to their weights: the floor of every generator.

    Args:
        values: Anchors as rows.
        count: How many networks to make.
        generator: Source of randomness.
        spec: Layout of the rows.
        sigma: Noise in units of the standard deviation of each tensor of the copied anchor. Norm
            statistics stay as they are.
    """
    if not len(values):
        raise DataError("There are no anchors to add noise to.", todo="Pass at least one network.")
    index = torch.randint(len(values), (count,), generator=generator, device=generator.device)
    chosen = values[index.to(values.device)]
    scale = torch.cat(
        [
            part.std(1, correction=0, keepdim=True).expand_as(part)
            for part in chosen.split([tensor.size for tensor in spec.tensors], dim=1)
        ],
        dim=1,
    )
    noise = _normal(tuple(chosen.shape), generator, chosen)
    return chosen + sigma * scale * noise * spec.trainable.to(chosen)


def _kernel(points: Tensor, count: int, generator: torch.Generator, mode: str, bandwidth: float) -> Tensor:
    """Draw from a Gaussian kernel density over points of shape `(anchors, codes, width)`."""
    anchors, tokens, width = points.shape
    shape = {"dimension": (tokens, width), "token": (tokens, 1), "joint": (1, 1), "legacy": (1, 1)}[mode]
    index = torch.randint(anchors, (count, *shape), generator=generator, device=generator.device)
    index = index.to(points.device).expand(count, tokens, width)
    noise = _normal((count, 1, 1) if mode == "legacy" else (count, tokens, width), generator, points)
    scale = 1.0 if mode == "legacy" else points.std(0)
    return points.gather(0, index) + bandwidth * scale * noise


def _between(codes: Tensor, count: int, generator: torch.Generator, neighbors: int) -> Tensor:
    """Draw points on lines from anchors to their nearest anchors."""
    flat = codes.flatten(1).double()
    far = torch.cdist(flat, flat).fill_diagonal_(torch.inf)
    close = far.topk(min(neighbors, len(codes) - 1), largest=False).indices
    device = generator.device
    first = torch.randint(len(codes), (count,), generator=generator, device=device).to(codes.device)
    pick = torch.randint(close.shape[1], (count,), generator=generator, device=device).to(codes.device)
    part = torch.rand(count, 1, 1, generator=generator, device=device).to(codes)
    return codes[first] + part * (codes[close[first, pick]] - codes[first])


def _normal(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """Draw standard normal numbers on the generator's device and bring them to a tensor's."""
    return torch.randn(shape, generator=generator, device=generator.device).to(like)


def _check(codes: Tensor, method: str, count: int) -> None:
    """Refuse anchors no density can be fitted on."""
    if method not in METHODS:
        raise ConfigError(f"There is no sampling method '{method}'.", todo=f"Known: {', '.join(METHODS)}.")
    if not len(codes):
        raise DataError("There are no anchors to sample around.", todo="Choose a larger share of networks.")
    if len(codes) == 1:
        raise DataError(
            f"Sampling by '{method}' needs at least 2 anchors; with one there is no spread.",
            todo="Choose a larger share of networks, or add noise to the one by `noise_around`.",
        )
    if count < 1:
        raise ConfigError(f"Cannot draw {count} codes; ask for at least 1.")
    if not bool(torch.isfinite(codes).all()):
        raise DataError("Some codes of the anchors are NaN or infinite.", todo="Leave those networks out.")
