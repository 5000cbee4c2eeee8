"""Flat vector <-> tokens: one integer index map per spec, a gather each way."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config
from weightatlas.errors import SpecError
from weightatlas.weights.spec import NetworkSpec


class TokenConfig(Config):
    """How weights are cut into tokens.

    Args:
        width: Weights per token; none takes the longest row of the network, bias included.
        mode: "sparse" cuts every output channel's row (weights, then bias) by itself and pads its
            last token, so that a token never holds two neurons (SANE, Schürholt et al., 2024);
            "dense" packs all rows of a layer one after the other and pads only the layer's end.
    """

    width: int | None = Field(default=None, ge=1)
    mode: Literal["sparse", "dense"] = "sparse"


@dataclass(frozen=True, eq=False, slots=True)
class TokenLayout:
    """Where every parameter stands in the tokens of a spec.

    Args:
        slots: Flat parameter index behind each slot, -1 for padding, shape `(tokens, width)`.
        mask: True where a slot holds a real weight, shape `(tokens, width)`.
        positions: (token, layer, channel) of each token, zero-based, shape `(tokens, 3)`. The paper's
            third entry is the place within the layer; the released code, followed here, uses the
            output channel. They differ only where a row needs more than one token.
        inverse: Flat slot index of each parameter, shape `(params,)`.
    """

    slots: Int[Tensor, "tokens width"]
    mask: Bool[Tensor, "tokens width"]
    positions: Int[Tensor, "tokens 3"]
    inverse: Int[Tensor, " params"]

    @property
    def tokens(self) -> int:
        return self.slots.shape[0]

    @property
    def width(self) -> int:
        return self.slots.shape[1]

    def to(self, device: torch.device) -> "TokenLayout":
        """Copy the index maps to a device."""
        return TokenLayout(*(getattr(self, name).to(device) for name in TokenLayout.__slots__))


@lru_cache(maxsize=64)
def layout(spec: NetworkSpec, config: TokenConfig = TokenConfig()) -> TokenLayout:  # noqa: B008 (frozen)
    """Build the index map between a spec's parameters and its tokens, once per (spec, config).

    A weight takes its layer's bias as last column. Norm scale and shift form one token row of two;
    running mean and variance are layers of their own with one number a channel, as in the
    released SANE tokenizer.

    Args:
        spec: Layout of the networks.
        config: Token width and mode.

    Returns:
        Index maps; integers are int64 because torch gathers with them.

    Raises:
        SpecError: The spec has no parameters.
    """
    blocks = [_rows(spec, group) for group in _row_groups(spec)]
    if not blocks:
        raise SpecError("The spec has no parameters, so there is nothing to cut into tokens.")
    width = config.width or max(block.shape[1] for block in blocks)
    slots, places = [], []
    for index, block in enumerate(blocks):
        cut = _cut_sparse(block, width) if config.mode == "sparse" else _cut_dense(block, width)
        slots.append(cut)
        channel = torch.arange(len(cut))
        if config.mode == "sparse":
            channel = channel // max(ceil(block.shape[1] / width), 1)
        places.append(torch.stack([torch.full_like(channel, index), channel], dim=1))
    table = torch.cat(slots)
    mask = table >= 0
    inverse = torch.empty(spec.params, dtype=torch.int64)
    inverse[table[mask]] = mask.flatten().nonzero().squeeze(1)
    token = torch.arange(len(table))[:, None]
    return TokenLayout(table, mask, torch.cat([token, torch.cat(places)], dim=1), inverse)


def tokenize(
    values: Float[Tensor, "networks params"], plan: TokenLayout
) -> Float[Tensor, "networks tokens width"]:
    """Cut networks into tokens; padding slots are zero.

    Args:
        values: Networks as rows.
        plan: Index map from `layout`.
    """
    padded = torch.cat([values, values.new_zeros(len(values), 1)], dim=1)
    # Index -1 reads the appended zero.
    return padded[:, plan.slots.to(values.device)]


def detokenize(
    tokens: Float[Tensor, "networks tokens width"], plan: TokenLayout
) -> Float[Tensor, "networks params"]:
    """Put tokens back together; what stands in padding slots is ignored.

    Args:
        tokens: Tokens of networks of the spec `plan` was built for.
        plan: Index map from `layout`.
    """
    return tokens.flatten(1)[:, plan.inverse.to(tokens.device)]


def _row_groups(spec: NetworkSpec) -> list[tuple[int, ...]]:
    """Group tensor indices that share token rows: (weight, bias), (scale, shift), singles."""
    groups: list[tuple[int, ...]] = []
    for members in spec.layers:
        taken: set[int] = set()
        for index in members:
            if index in taken:
                continue
            partner = _partner(spec, members, index, taken)
            groups.append((index,) if partner is None else (index, partner))
            taken.update(groups[-1])
    return sorted(groups)


def _partner(spec: NetworkSpec, members: tuple[int, ...], index: int, taken: set[int]) -> int | None:
    """Find the bias (or shift) that goes with a weight (or scale) of the same layer."""
    tensor = spec.tensors[index]
    wanted = {"weight": "bias", "norm_scale": "norm_shift"}.get(tensor.role)
    stem = tensor.name.rpartition(".")[0]
    for other in members:
        candidate = spec.tensors[other]
        fits = candidate.role == wanted and candidate.shape == tensor.shape[:1]
        if fits and other not in taken and candidate.name.rpartition(".")[0] == stem:
            return other
    return None


def _rows(spec: NetworkSpec, group: tuple[int, ...]) -> Int[Tensor, "rows columns"]:
    """Lay the flat indices of one group of tensors out as rows, a neuron a row."""
    parts = []
    for index in group:
        tensor, start = spec.tensors[index], spec.offsets[index]
        parts.append(torch.arange(start, start + tensor.size).view(tensor.rows, -1 if tensor.size else 0))
    return torch.cat(parts, dim=1)


def _cut_sparse(block: Int[Tensor, "rows columns"], width: int) -> Int[Tensor, "tokens width"]:
    """Cut each row into tokens and pad the row's last one."""
    rows, columns = block.shape
    pieces = ceil(columns / width)
    padded = torch.nn.functional.pad(block, (0, pieces * width - columns), value=-1)
    return padded.reshape(rows * pieces, width)


def _cut_dense(block: Int[Tensor, "rows columns"], width: int) -> Int[Tensor, "tokens width"]:
    """Cut a whole layer into tokens and pad only the last one."""
    flat = block.flatten()
    padded = torch.nn.functional.pad(flat, (0, -len(flat) % width), value=-1)
    return padded.reshape(-1, width)
