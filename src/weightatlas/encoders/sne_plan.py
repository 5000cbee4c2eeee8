"""Everything SNE needs to know of a spec before it sees weights: chunks, sets, positions."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightatlas.config import Config
from weightatlas.encoders.sinusoids import sinusoids, summed
from weightatlas.weights.branches import residual_blocks
from weightatlas.weights.set_chunks import ChunkConfig, Chunks, cut_chunks
from weightatlas.weights.spec import NetworkSpec, TensorSpec

KINDS = (
    *("linear", "conv", "bias", "norm_scale", "norm_shift", "running_mean", "running_var"),
    *("embedding", "position", "other"),
)
BLOCK = len(KINDS)
"""Type number of the special token of a residual block (SNE, appendix D)."""

_TYPE, _LEVEL, _DEPTH, _LAST, _WITHIN, _ROW, _OUT = 0, 1, 2, 3, 4, 14, 16


class Positions(Config):
    """Which positions SNE adds; all but `within` and `chunk` keep permuted networks equal.

    Args:
        type: Kind of tensor (linear, convolution, bias, norm, ...).
        level: Number of the layer.
        depth: Share of the layers before it.
        kernel: Tap of a kernel, and place within channels that were flattened or within a head.
        io: Exact numbers of input and output neurons, which no permutation moves.
        within: Place within the chunk.
        chunk: Row, and block of columns, of the chunk.
        blocks: A special token per residual block.
    """

    type: bool = True
    level: bool = True
    depth: bool = False
    kernel: bool = True
    io: bool = True
    within: bool = False
    chunk: bool = False
    blocks: bool = True


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """The index maps and positions of one spec, on one device.

    Args:
        chunks: Chunks by size.
        kind: Kind of each tensor, an index into `KINDS`.
        chunk_tensor: Tensor of each chunk, sizes one after the other.
        tensor_layer: Layer of each tensor.
        tensor_position: Added to every scalar of a tensor.
        template: Per size, which description of slots each chunk has.
        slot_position: Per size, added to the slots of each description.
        chunk_position: Added to the vector of each chunk.
        layer_position: Added to the vector of each layer.
        tokens: One special token per residual block.
    """

    chunks: tuple[Chunks, ...]
    kind: Int[Tensor, " tensors"]
    chunk_tensor: Int[Tensor, " chunks"]
    tensor_layer: Int[Tensor, " tensors"]
    tensor_position: Float[Tensor, "tensors dim"]
    template: tuple[Int[Tensor, "_"], ...]
    slot_position: tuple[Float[Tensor, "_ _ dim"], ...]
    chunk_position: Float[Tensor, "chunks dim"]
    layer_position: Float[Tensor, "layers dim"]
    tokens: Float[Tensor, "tokens dim"]


def plan_of(
    spec: NetworkSpec, cutting: ChunkConfig, positions: Positions, dim: int, device: torch.device
) -> Plan:
    """Make the plan of a spec, once per settings and device.

    Args:
        spec: Layout of the networks.
        cutting: How tensors are cut.
        positions: What is added.
        dim: Width of the vectors.
        device: Where the maps go.
    """
    return _made(spec, cutting, positions, dim, device)  # pyright: ignore[reportArgumentType]


@lru_cache(maxsize=256)
def _made(
    spec: NetworkSpec, cutting: ChunkConfig, positions: Positions, dim: int, device: torch.device
) -> Plan:
    chunks = cut_chunks(spec, cutting)
    present = [number for number, tensor in enumerate(spec.tensors) if tensor.size]
    renumber = torch.full((len(spec.tensors),), -1)
    renumber[present] = torch.arange(len(present))
    kind = torch.tensor([_kind(spec.tensors[number]) for number in present])
    levels, layer = torch.unique(
        torch.tensor([spec.tensors[number].layer for number in present]), return_inverse=True
    )
    level_position = _of_levels(levels, levels, positions, dim)
    tensor_position = level_position[layer]
    if positions.type:
        tensor_position = tensor_position + sinusoids(kind, dim, _TYPE)
    chunk_tensor = torch.cat([renumber[part.tensor.long()] for part in chunks])
    chunk_position = level_position[layer[chunk_tensor]] + torch.cat(
        [_of_chunks(part, positions, dim) for part in chunks]
    )
    slots = [_of_slots(part, positions, dim) for part in chunks]
    return Plan(
        chunks=tuple(_on(part, device) for part in chunks),
        kind=kind.to(device),
        chunk_tensor=chunk_tensor.to(device),
        tensor_layer=layer.to(device),
        tensor_position=tensor_position.to(device),
        template=tuple(template.to(device) for template, _ in slots),
        slot_position=tuple(position.to(device) for _, position in slots),
        chunk_position=chunk_position.to(device),
        layer_position=level_position.to(device),
        tokens=_of_blocks(spec, levels, positions, dim).to(device),
    )


def _kind(tensor: TensorSpec) -> int:
    """Number the kind of a tensor; a weight of three axes or more is a convolution's."""
    if tensor.role == "weight":
        return KINDS.index("conv" if len(tensor.shape) > 2 else "linear")
    return KINDS.index(tensor.role)


def _of_levels(levels: Tensor, known: Tensor, positions: Positions, dim: int) -> Tensor:
    total = torch.zeros(len(levels), dim)
    if positions.level:
        total += sinusoids(levels, dim, _LEVEL)
    if positions.depth:
        # Shares in [0, 1] are spread over 16 places, in which neighbors of deep networks still differ.
        total += sinusoids(16 * levels / max(1, int(known.max())), dim, _DEPTH)
    return total


def _of_slots(part: Chunks, positions: Positions, dim: int) -> tuple[Tensor, Tensor]:
    """Encode the wanted fields of every slot (within, taps, column label, row label), alike ones once."""
    kernel, io = [1, 2, 3, 5, 8], [4, 6, 7, 9]
    fields = [0] * positions.within + kernel * positions.kernel + io * positions.io
    fields = [field for field in fields if bool((part.places[..., field] != 0).any())]
    if not fields:
        return torch.zeros_like(part.template), torch.zeros(1, part.size, dim)
    places, same = torch.unique(part.places[..., fields], dim=0, return_inverse=True)
    return same[part.template], summed(places, [_WITHIN + field for field in fields], dim)


def _of_chunks(part: Chunks, positions: Positions, dim: int) -> Tensor:
    """Encode row and block of a chunk, and what is known of its row."""
    total = torch.zeros(len(part.index), dim)
    if positions.chunk:
        total += summed(part.index, [_ROW, _ROW + 1], dim)
    fields = [1] * positions.kernel + [0, 2] * positions.io
    return total + summed(part.label[:, fields], [_OUT + field for field in fields], dim)


def _of_blocks(spec: NetworkSpec, levels: Tensor, positions: Positions, dim: int) -> Tensor:
    """Make the special token of every residual block: its type, first and last layer."""
    blocks = torch.tensor(residual_blocks(spec) if positions.blocks else (), dtype=torch.int64).view(-1, 2)
    kind = sinusoids(torch.full((len(blocks),), BLOCK), dim, _TYPE)
    return kind + sinusoids(blocks[:, 0], dim, _LEVEL) + sinusoids(blocks[:, 1], dim, _LAST)


def _on(part: Chunks, device: torch.device) -> Chunks:
    return Chunks(*(getattr(part, name).to(device) for name in Chunks.__slots__))
