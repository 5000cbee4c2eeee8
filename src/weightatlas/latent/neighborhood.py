"""Codes drawn between neighboring anchors, directly or through a map of few dimensions and back."""

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import ConfigError
from weightatlas.latent.samplers import SampleConfig, samplers, uniform

Codes = Float[Tensor, "_ codes width"]
DIMENSIONS = 3


@samplers.register("neighborhood")
def between(codes: Codes, count: int, generator: torch.Generator, settings: SampleConfig) -> Codes:
    """Draw a point on the line from an anchor to one of its nearest anchors."""
    flat = codes.flatten(1).double()
    far = torch.cdist(flat, flat).fill_diagonal_(torch.inf)
    close = far.topk(min(settings.neighbors, len(codes) - 1), largest=False).indices
    device = generator.device
    first = torch.randint(len(codes), (count,), generator=generator, device=device).to(codes.device)
    pick = torch.randint(close.shape[1], (count,), generator=generator, device=device).to(codes.device)
    part = uniform((count, 1, 1), generator, codes)
    return codes[first] + part * (codes[close[first, pick]] - codes[first])


@samplers.register("neighborhood_isomap")
def through_isomap(codes: Codes, count: int, generator: torch.Generator, settings: SampleConfig) -> Codes:
    """Draw uniformly in a 3-dimensional Isomap of the anchors and go back to codes.

    Stands in for S_Neigh of hyper-representations where UMAP is not installed. The way back is the
    mean of the nearest anchors on the map, weighted by how near they are.
    """
    from sklearn.manifold import Isomap

    near = max(min(settings.neighbors * 5, len(codes) - 1), 1)
    dimensions = min(DIMENSIONS, len(codes) - 1)
    chart = Isomap(n_neighbors=near, n_components=dimensions)
    points = torch.from_numpy(chart.fit_transform(codes.flatten(1).double().cpu().numpy())).to(codes)
    drawn = _in_range(points, count, generator)
    return barycenters(points, codes, drawn, settings.neighbors + 1)


@samplers.register("neighborhood_umap")
def through_umap(codes: Codes, count: int, generator: torch.Generator, settings: SampleConfig) -> Codes:
    """Draw uniformly in a 3-dimensional UMAP of the anchors and go back (S_Neigh, NeurIPS 2022).

    Raises:
        ConfigError: The package umap-learn is not installed.
    """
    try:
        from umap import UMAP  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ConfigError(
            "Sampling by 'neighborhood_umap' needs the package umap-learn.",
            todo="Install weightatlas[umap], or use 'neighborhood_isomap'.",
        ) from None
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    near = min(15, len(codes) - 1)
    chart = UMAP(n_neighbors=near, n_components=DIMENSIONS, min_dist=0.01, random_state=seed, n_jobs=1)
    points = torch.from_numpy(chart.fit_transform(codes.flatten(1).cpu().numpy())).to(codes)
    drawn = _in_range(points, count, generator)
    back = torch.from_numpy(chart.inverse_transform(drawn.cpu().numpy()))
    return back.to(codes).view(count, *codes.shape[1:])


def barycenters(
    points: Float[Tensor, "anchors dims"], codes: Codes, drawn: Float[Tensor, "count dims"], near: int
) -> Codes:
    """Return means of the anchors nearest to drawn points on a map, weighted by inverse distance.

    Args:
        points: Anchors on the map.
        codes: Their codes.
        drawn: New points on the map.
        near: Anchors that take part.
    """
    distance, index = torch.cdist(drawn, points).topk(min(near, len(points)), largest=False)
    share = 1 / distance.clamp_min(1e-12)
    share = share / share.sum(1, keepdim=True)
    return (share[..., None, None] * codes[index]).sum(1)


def _in_range(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw points uniformly from the box around a map."""
    low, high = points.amin(0), points.amax(0)
    return low + (high - low) * uniform((count, points.shape[1]), generator, points)
