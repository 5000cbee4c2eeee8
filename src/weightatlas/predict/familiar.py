"""What makes a network familiar: how its weights are built, and what it answers on unlabelled inputs."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.statistics import layer_statistics

LEADING = 4  # singular values whose shares are told


def structure(
    values: Float[Tensor, "networks params"], spec: NetworkSpec
) -> Float[Tensor, "networks features"]:
    """Describe how weights are built, the same for permuted networks.

    Layer statistics; shares of the leading singular values of every weight and their entropy; how unequal
    its rows and columns are; and how the sizes of a neuron's incoming and outgoing weights go together.
    Shuffling the numbers of a tensor leaves its statistics and changes the rest.

    Args:
        values: Networks as rows.
        spec: Their layout.

    Returns:
        Float64 features, in an order that depends on the spec alone.
    """
    wide = values.double()
    parts = [layer_statistics(values, spec).double()]
    for tensor in spec.tensors:
        if len(tensor.shape) < 2 or min(tensor.shape[0], tensor.size // max(tensor.shape[0], 1)) < 2:
            continue
        matrix = wide[:, spec.slices[tensor.name]].reshape(len(wide), tensor.shape[0], -1)
        energy = torch.linalg.svdvals(matrix).square()
        share = energy / energy.sum(1, keepdim=True).clamp_min(1e-30)
        parts += [share[:, :LEADING], -(share * (share + 1e-30).log()).sum(1, keepdim=True)]
        for axis in (1, 2):
            size = matrix.norm(dim=axis)
            mean = size.mean(1, keepdim=True).clamp_min(1e-12)
            parts.append((size - mean).square().mean(1, keepdim=True).sqrt() / mean)
    for group in range(len(spec.groups)):
        parts += _together(_sizes(wide, spec, group))
    return torch.cat(parts, dim=1)


def _sizes(values: Tensor, spec: NetworkSpec, group: int) -> list[Tensor]:
    """Size of what each tensor holds for every member of a group."""
    found = []
    for tensor in spec.tensors:
        whole = values[:, spec.slices[tensor.name]].reshape(len(values), *tensor.shape)
        for place, axis in enumerate(tensor.axes):
            if len(axis) == 1 and axis[0].group == group:
                moved = whole.movedim(1 + place, 1).reshape(len(values), spec.groups[group], -1)
                found.append(moved.norm(dim=2))
    return found


def _together(sizes: list[Tensor]) -> list[Tensor]:
    """Correlation of every two sizes over the members."""
    centered = [size - size.mean(1, keepdim=True) for size in sizes]
    unit = [part / part.norm(dim=1, keepdim=True).clamp_min(1e-12) for part in centered]
    return [(a * b).sum(1, keepdim=True) for place, a in enumerate(unit) for b in unit[:place]]


def consensus(outputs: Float[Tensor, "networks inputs classes"]) -> Int[Tensor, " inputs"]:
    """What most networks answer to each input."""
    return outputs.argmax(-1).mode(0).values


def behavior(
    outputs: Float[Tensor, "networks inputs classes"], usual: Int[Tensor, " inputs"]
) -> Float[Tensor, "networks 6"]:
    """Describe what networks answer: agreement with the usual answers, confidence, use of the classes.

    Args:
        outputs: Logits on unlabelled inputs.
        usual: What most training networks answer, from `consensus`.
    """
    logits = outputs.double().nan_to_num(0.0, 1e6, -1e6)
    shares = logits.softmax(-1)
    answers = logits.argmax(-1)
    use = torch.nn.functional.one_hot(answers, logits.shape[-1]).double().mean(1)
    doubt = -(shares * shares.clamp_min(1e-12).log()).sum(-1)
    found = [
        (answers == usual).double().mean(1),
        shares.amax(-1).mean(1),
        doubt.mean(1),
        doubt.std(1),
        -(use * use.clamp_min(1e-12).log()).sum(1),
        logits.norm(dim=-1).mean(1).clamp_min(1e-12).log(),
    ]
    return torch.stack(found, dim=1)


def region_of(features: Float[Tensor, "networks features"]) -> dict[str, Tensor]:
    """Where training networks lie: center, spread and whitening by a shrunken covariance (Ledoit, Wolf)."""
    from sklearn.covariance import LedoitWolf

    center = features.median(0).values
    spread = (features - center).abs().median(0).values
    spread = torch.where(spread > 1e-9, spread, (features - center).abs().mean(0).clamp_min(1e-9))
    found = LedoitWolf().fit(torch.asinh((features - center) / spread).numpy())
    precision = torch.from_numpy(found.precision_)
    return {
        "center": center,
        "spread": spread,
        "mean": torch.from_numpy(found.location_),
        "whitening": torch.linalg.cholesky((precision + precision.T) / 2).contiguous(),
    }


def distance_from(
    region: dict[str, Tensor], features: Float[Tensor, "networks features"]
) -> Float[Tensor, " networks"]:
    """Mahalanobis distance of networks from a region."""
    here = torch.asinh((features - region["center"]) / region["spread"])
    return ((here - region["mean"]) @ region["whitening"]).norm(dim=1)


def held_out(
    train: Float[Tensor, "networks features"],
    others: Float[Tensor, "others features"],
    fold: Int[Tensor, " both"],
) -> Float[Tensor, " both"]:
    """Distance of every network from the training networks outside its fold; NaN outside of all folds.

    Args:
        train: Features of training networks.
        others: Those of others.
        fold: Fold of all, training networks first; -1 is none.
    """
    every, inside = torch.cat([train, others]), fold[: len(train)]
    found = torch.full((len(every),), torch.nan, dtype=train.dtype)
    for place in range(int(fold.max()) + 1):
        found[fold == place] = distance_from(region_of(train[inside != place]), every[fold == place])
    return found
