"""New codes near good ones: anchors, and codes drawn around them by any registered method."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.encoders.base import Autoencoder
from weightatlas.errors import ConfigError, DataError
from weightatlas.latent import densities as _densities  # noqa: F401 (registers kernels, Gaussian, uniform)
from weightatlas.latent import flow as _flow  # noqa: F401 (registers "flow")
from weightatlas.latent import gan as _gan  # noqa: F401 (registers "gan")
from weightatlas.latent import neighborhood as _neighborhood  # noqa: F401 (registers its methods)
from weightatlas.latent.samplers import SampleConfig, normal, samplers
from weightatlas.weights.spec import NetworkSpec


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
    method: str = "pca_kde",
    settings: SampleConfig = SampleConfig(),  # noqa: B008 (frozen)
) -> Float[Tensor, "count codes width"]:
    """Draw new codes from a distribution fitted on anchors.

    * `pca_kde`: 32 principal components of the flattened codes, a Gaussian kernel density for each
      component on its own (Structure Is Not Enough, section 4.3); `pca_kde_joint` draws whole anchors
      in that space, which keeps dependencies between components.
    * `kde_dimension`, `kde_token`, `kde_joint`: kernel density on the codes themselves, each number,
      each token or each network on its own (hyper-representations, NeurIPS 2022; SANE, ICML 2024).
    * `kde_legacy`: as the code released with hyper-representations draws, at its bandwidth of 0.002; only for
      comparing numbers. `pca_kde_legacy`: the same in principal coordinates.
    * `neighborhood`: a point between an anchor and one of its nearest anchors; `neighborhood_umap` and
      `neighborhood_isomap`: uniformly on a map of three dimensions, and back.
    * `gan`, `flow`: a generator trained on the anchors' principal components, adversarially or by flow
      matching.
    * `gaussian`: mean and standard deviation of each code number; `uniform`: their range; `prior`: one
      normal distribution for all numbers, which knows nothing of the anchors but the scale of their codes.

    Args:
        codes: Codes of the anchors.
        count: How many to draw.
        generator: Source of randomness; its device does not matter for the result's device.
        method: One of the above.
        settings: Bandwidth, components, neighbors, training steps, standard deviation of the prior.

    Raises:
        DataError: There are no anchors, or only one where spread is needed, or codes are not finite.
        ConfigError: The method is unknown.
    """
    draw = samplers.get(method)
    _check(codes, method, count)
    return draw(codes, count, generator, settings)


def generate(
    encoder: Autoencoder,
    codes: Float[Tensor, "anchors codes width"],
    spec: NetworkSpec,
    count: int,
    generator: torch.Generator,
    method: str = "pca_kde",
    settings: SampleConfig = SampleConfig(),  # noqa: B008 (frozen)
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
        settings: See `sample`.
        chunk: Networks decoded at a time.

    Returns:
        Ready-to-use networks as rows.
    """
    drawn = sample(codes, count, generator, method, settings)
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
    noise = normal(tuple(chosen.shape), generator, chosen)
    return chosen + sigma * scale * noise * spec.trainable.to(chosen)


def _check(codes: Tensor, method: str, count: int) -> None:
    """Refuse anchors no density can be fitted on."""
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
