"""Every tensor of a network in one line: shape, type, role, statistics and spectrum."""

import hashlib
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from weightatlas.relate.health import Health
from weightatlas.weights.files import StoredNetwork
from weightatlas.weights.spec import NetworkSpec

_STATISTICS = ("mean", "std", "min", "max", "not finite")


def rows_of(
    stored: StoredNetwork, spec: NetworkSpec, health: Health, row: int, statistics: dict[str, Tensor]
) -> list[dict[str, Any]]:
    """Describe every tensor in the order of the spec, those that are no floats last."""
    roles = {name: t.role for t in spec.tensors for name in (t.name, *t.aliases)}
    canonical = {alias: t.name for t in spec.tensors for alias in t.aliases}
    spectra = {spectrum.tensor: spectrum for spectrum in health.spectra}
    order = {name: place for place, name in enumerate(roles)}
    rows = []
    for name in sorted(stored.tensors, key=lambda name: order.get(name, len(order))):
        tensor = stored.tensors[name]
        entry: dict[str, Any] = {
            "name": name,
            "shape": " × ".join(map(str, tensor.shape)) or "scalar",
            "dtype": stored.origins[name].dtype,
            "role": roles.get(name, "counter"),
        }
        known = statistics.get(canonical.get(name, name))
        numbers = [None] * 4 + [0] if known is None else known[row].tolist()
        entry |= {key: _plain(value) for key, value in zip(_STATISTICS, numbers, strict=True)}
        entry["not finite"] = int(numbers[4] or 0)
        spectrum = spectra.get(canonical.get(name, name))
        for key in ("norm", "stable_rank", "effective_rank", "alpha"):
            value = None if spectrum is None else float(getattr(spectrum, key)[row])
            entry[key.replace("_", " ")] = _plain(value)
        rows.append(entry)
    return rows


def statistics_of(values: Tensor) -> Tensor:
    """Mean, standard deviation, smallest and largest finite value, and how many are not finite."""
    flat = values.reshape(len(values), values.shape[1:].numel())
    finite = torch.isfinite(flat)
    count = finite.sum(1).double()
    if bool(finite.all()):
        numbers = flat.double() if flat.numel() < 1 << 22 else flat.float()
        mean, std = numbers.mean(1), numbers.std(1, correction=0)
        low, high = numbers.aminmax(dim=1) if flat.shape[1] else (mean, mean)
    else:
        numbers = torch.where(finite, flat, 0).double()
        mean = numbers.sum(1) / count
        std = (torch.where(finite, numbers - mean[:, None], 0).square().sum(1) / count).sqrt()
        low = torch.where(finite, flat.double(), torch.inf).amin(1)
        high = torch.where(finite, flat.double(), -torch.inf).amax(1)
    return torch.stack([mean.double(), std.double(), low.double(), high.double(), flat.shape[1] - count], 1)


def digest_of(tensors: dict[str, Tensor]) -> str:
    """Hash names and numbers, whatever the file format and order."""
    hashed = hashlib.blake2b(digest_size=8)
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.numel():
            hashed.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return hashed.hexdigest()


def dtypes_of(stored: StoredNetwork) -> str:
    """Number types of the floating tensors, the one with most numbers first."""
    sizes: dict[str, int] = {}
    for name, tensor in stored.tensors.items():
        if tensor.is_floating_point():
            sizes[stored.origins[name].dtype] = sizes.get(stored.origins[name].dtype, 0) + tensor.numel()
    return ", ".join(sorted(sizes, key=lambda dtype: -sizes[dtype]))


def _plain(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
