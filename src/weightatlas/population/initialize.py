"""First weights of many networks at once, each from its own key and scheme."""

from collections.abc import Callable, Sequence
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.errors import ConfigError
from weightatlas.registry import Registry
from weightatlas.runtime import normal, stream, uniform
from weightatlas.weights.spec import NetworkSpec, TensorSpec

_BIAS = 0.01  # what the published zoos set biases to, whatever the scheme of the weights

Draw = Callable[[Int[Tensor, " networks"], TensorSpec], Float[Tensor, "networks numbers"]]

schemes: "Registry[Tensor]" = Registry("initialization")

# Schemes whose spread may be chosen, and the one they have by themselves.
_SPREADS: dict[str, Callable[[TensorSpec], float]] = {
    "normal": lambda tensor: 1.0,
    "truncated_normal": lambda tensor: fan_in(tensor) ** -0.5,
}


def initialize(
    spec: NetworkSpec,
    keys: Int[Tensor, " networks"],
    scheme: str | Sequence[str],
    std: Sequence[float | None] | None = None,
) -> Float[Tensor, "networks params"]:
    """Draw first weights; a network's numbers depend on its key, its scheme and the spec alone.

    Weights follow the scheme. Biases are 0.01 as in the published zoos, except for "default" and
    "siren", where they are what `nn.Linear` and `nn.Conv2d` draw by themselves. Norm scales and running
    variances are 1, norm shifts and running means 0.

    Example:
        >>> from weightatlas.weights.spec import Segment
        >>> axes = ((Segment(members=4),),)
        >>> tensor = TensorSpec(name="w", shape=(4,), role="norm_scale", axes=axes, layer=0)
        >>> initialize(NetworkSpec(tensors=(tensor,)), torch.tensor([7]), "normal")
        tensor([[1., 1., 1., 1.]])

    Args:
        spec: The layout to fill.
        keys: One 64-bit key per network, shape `(networks,)`.
        scheme: One scheme for all, or one per network: "uniform" U(0, 1), "normal" N(0, 1),
            "kaiming_uniform", "kaiming_normal", "glorot_uniform" (or "glorot"), "glorot_normal",
            "orthogonal", "truncated_normal", "default" or "siren".
        std: Standard deviation of each network's "normal" or "truncated_normal" weights before they are cut
            off; none keeps the scheme's own. Other schemes have no use for it.

    Returns:
        Float32 weights, shape `(networks, params)`.

    Raises:
        ConfigError: A scheme is unknown, or their number differs from the number of keys.
    """
    names = [scheme] * len(keys) if isinstance(scheme, str) else list(scheme)
    if len(names) != len(keys):
        raise ConfigError(f"{len(names)} initializations were given for {len(keys)} networks.")
    values = torch.empty(len(keys), spec.params, dtype=torch.float32, device=keys.device)
    for name in sorted(set(names)):
        rows = torch.tensor([i for i, other in enumerate(names) if other == name], device=keys.device)
        own = None if std is None else [std[i] for i in rows.tolist()]
        values[rows] = _fill(spec, keys[rows], name, own)
    return values


def _fill(
    spec: NetworkSpec, keys: Int[Tensor, " networks"], scheme: str, std: Sequence[float | None] | None
) -> Float[Tensor, "networks params"]:
    """Draw all tensors of the networks that share a scheme."""
    draw = schemes.get(scheme)
    parts = []
    for index, tensor in enumerate(spec.tensors):
        own = stream(keys, index, "init")
        if tensor.role == "weight":
            part = draw(own, tensor)
            if std is not None and scheme in _SPREADS:
                unit = _SPREADS[scheme](tensor)
                factors = torch.tensor([1.0 if value is None else value / unit for value in std])
                part = part * factors.to(part)[:, None]
        elif tensor.role == "bias" and scheme in ("default", "siren"):
            part = _spread(own, tensor, fan_in(_weight_of(tensor, spec)) ** -0.5)
        elif tensor.role in ("embedding", "position", "other"):
            part = normal(own, tensor.size) * (1.0 if tensor.role == "embedding" else 0.02)
        else:
            constant = {"bias": _BIAS, "norm_scale": 1.0, "running_var": 1.0}.get(tensor.role, 0.0)
            part = torch.full((len(keys), tensor.size), constant, device=keys.device)
        parts.append(part.float())
    return torch.cat(parts, dim=1)


def fan_in(tensor: TensorSpec) -> int:
    """Count the numbers that feed one output of a weight."""
    return max(prod(tensor.shape[1:]), 1)


def fan_out(tensor: TensorSpec) -> int:
    """Count the outputs that one input of a weight feeds."""
    return max(tensor.shape[0] * prod(tensor.shape[2:]), 1)


def _weight_of(bias: TensorSpec, spec: NetworkSpec) -> TensorSpec:
    """Find the weight of the layer a bias belongs to, or the bias itself."""
    own = (t for t in spec.tensors if t.layer == bias.layer and t.role == "weight")
    return next(own, bias)


def _spread(keys: Tensor, tensor: TensorSpec, bound: float) -> Tensor:
    """Draw from U(-bound, bound)."""
    return (uniform(keys, tensor.size) * 2 - 1) * bound


@schemes.register("uniform")
def _uniform(keys: Tensor, tensor: TensorSpec) -> Tensor:
    """U(0, 1), the "uniform" of the published CNN zoos."""
    return uniform(keys, tensor.size)


@schemes.register("normal")
def _normal(keys: Tensor, tensor: TensorSpec) -> Tensor:
    """N(0, 1), the "normal" of the published CNN zoos."""
    return normal(keys, tensor.size)


@schemes.register("kaiming_uniform")
def _kaiming_uniform(keys: Tensor, tensor: TensorSpec) -> Tensor:
    """U(-b, b) with b = sqrt(6 / fan_in) (He et al., 2015)."""
    return _spread(keys, tensor, (6 / fan_in(tensor)) ** 0.5)


@schemes.register("kaiming_normal")
def _kaiming_normal(keys: Tensor, tensor: TensorSpec) -> Tensor:
    """N(0, 2 / fan_in) (He et al., 2015)."""
    return normal(keys, tensor.size) * (2 / fan_in(tensor)) ** 0.5


@schemes.register("glorot_uniform")
def _glorot_uniform(keys: Tensor, tensor: TensorSpec) -> Tensor:
    """U(-b, b) with b = sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio, 2010)."""
    return _spread(keys, tensor, (6 / (fan_in(tensor) + fan_out(tensor))) ** 0.5)


schemes.register("glorot")(_glorot_uniform)


@schemes.register("glorot_normal")
def _glorot_normal(keys: Tensor, tensor: TensorSpec) -> Tensor:
    """N(0, 2 / (fan_in + fan_out)) (Glorot & Bengio, 2010)."""
    return normal(keys, tensor.size) * (2 / (fan_in(tensor) + fan_out(tensor))) ** 0.5


@schemes.register("truncated_normal")
def _truncated_normal(keys: Tensor, tensor: TensorSpec) -> Tensor:
    """N(0, 1 / fan_in) cut off at two standard deviations, by inversion."""
    low = torch.special.ndtr(torch.tensor(-2.0, dtype=torch.float64))
    share = low + uniform(keys, tensor.size) * (1 - 2 * low)
    return torch.special.ndtri(share) * fan_in(tensor) ** -0.5


@schemes.register("orthogonal")
def _orthogonal(keys: Tensor, tensor: TensorSpec) -> Tensor:
    """A random matrix with orthonormal rows or columns (Saxe et al., 2014)."""
    rows, columns = tensor.shape[0], fan_in(tensor)
    drawn = normal(keys, rows * columns).reshape(len(keys), rows, columns)
    tall = drawn if rows >= columns else drawn.transpose(1, 2)
    q, r = torch.linalg.qr(tall)
    q = q * r.diagonal(dim1=1, dim2=2).sign()[:, None, :]  # makes the draw uniform over such matrices
    q = q if rows >= columns else q.transpose(1, 2)
    return q.reshape(len(keys), -1)


@schemes.register("default")
def _default(keys: Tensor, tensor: TensorSpec) -> Tensor:
    """U(-b, b) with b = 1 / sqrt(fan_in): the default of `nn.Linear` and `nn.Conv2d`."""
    return _spread(keys, tensor, fan_in(tensor) ** -0.5)


@schemes.register("siren")
def _siren(keys: Tensor, tensor: TensorSpec) -> Tensor:
    """U(-b, b), b = 1 / fan_in in the first layer, sqrt(6 / fan_in) / 30 after it (Sitzmann et al., 2020)."""
    first = tensor.layer == 0
    return _spread(keys, tensor, 1 / fan_in(tensor) if first else (6 / fan_in(tensor)) ** 0.5 / 30)
