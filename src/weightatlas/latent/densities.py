"""Codes drawn from densities that need no training: kernels, Gaussian, uniform."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.latent.samplers import SampleConfig, normal, principal, samplers, uniform

Codes = Float[Tensor, "_ codes width"]
BANDWIDTH = 0.2  # SANE's
LEGACY_BANDWIDTH = 0.002  # of the 2022 release; SANE's code took 0.2, the one of 2025 lacks its sampler


def kernel(
    codes: Codes, count: int, generator: torch.Generator, settings: SampleConfig, each: str = "joint"
) -> Codes:
    """Draw from a Gaussian kernel density over anchors (NeurIPS 2022; SANE, ICML 2024).

    `each` says what is drawn on its own: every number ("dimension"), every token or the whole network
    ("joint"). "legacy" does as the released code: it reuses one seed in every dimension, so that each
    draw is a whole anchor plus the same shift in all dimensions, and its bandwidth is absolute.
    """
    anchors, tokens, width = codes.shape
    shape = {"dimension": (tokens, width), "token": (tokens, 1), "joint": (1, 1), "legacy": (1, 1)}[each]
    index = torch.randint(anchors, (count, *shape), generator=generator, device=generator.device)
    index = index.to(codes.device).expand(count, tokens, width)
    legacy = each == "legacy"
    noise = normal((count, 1, 1) if legacy else (count, tokens, width), generator, codes)
    bandwidth = settings.bandwidth
    if bandwidth is None:
        bandwidth = LEGACY_BANDWIDTH if legacy else BANDWIDTH
    scale = bandwidth * (1.0 if legacy else codes.std(0))
    return codes.gather(0, index) + scale * noise


def principal_kernel(
    codes: Codes, count: int, generator: torch.Generator, settings: SampleConfig, each: str = "dimension"
) -> Codes:
    """Draw each of 32 principal components from a kernel density (Structure Is Not Enough, section 4.3)."""
    known = principal(codes, settings.components)
    return known.back(kernel(known.points[:, None], count, generator, settings, each)[:, 0])


@samplers.register("gaussian")
def gaussian(codes: Codes, count: int, generator: torch.Generator, settings: SampleConfig) -> Codes:
    """Draw each number from a normal distribution with the anchors' mean and standard deviation."""
    return codes.mean(0) + codes.std(0) * normal((count, *codes.shape[1:]), generator, codes)


@samplers.register("uniform")
def uniform_box(codes: Codes, count: int, generator: torch.Generator, settings: SampleConfig) -> Codes:
    """Draw each number uniformly from the anchors' range (S_U, NeurIPS 2022, drew from -1 to 1)."""
    low, high = codes.amin(0), codes.amax(0)
    return low + (high - low) * uniform((count, *codes.shape[1:]), generator, codes)


@samplers.register("prior")
def prior(codes: Codes, count: int, generator: torch.Generator, settings: SampleConfig) -> Codes:
    """Draw from one normal distribution for all numbers: no prompt but the scale of codes (GAUSS, SANE).

    The released code draws with a standard deviation of 10 whatever the scale of its codes; here it is
    the root mean square of the anchors' codes unless settings name another.
    """
    sigma = codes.square().mean().sqrt() if settings.sigma is None else settings.sigma
    return sigma * normal((count, *codes.shape[1:]), generator, codes)


for _each in ("dimension", "token", "joint", "legacy"):
    samplers.register(f"kde_{_each}")(partial(kernel, each=_each))
for _each in ("dimension", "joint", "legacy"):
    _name = "pca_kde" if _each == "dimension" else f"pca_kde_{_each}"
    samplers.register(_name)(partial(principal_kernel, each=_each))
