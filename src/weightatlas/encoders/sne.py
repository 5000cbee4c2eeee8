"""SNE: a network as a set of layers, a layer as a set of chunks, a chunk as a set of scalars."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from weightatlas.config import Config
from weightatlas.encoders.base import Encoded, Encoder, encoders, one_code, packs
from weightatlas.encoders.magnitudes import Magnitudes
from weightatlas.encoders.set_blocks import SetEncoder
from weightatlas.encoders.set_packing import Budget, encode_sets, in_passes, sizes_of
from weightatlas.encoders.set_residual import MeanEncoder, ResidualSetEncoder
from weightatlas.encoders.sne_plan import KINDS, Plan, Positions, plan_of
from weightatlas.encoders.sne_reads import Part, Read, network_of, numbers, reads_of, stacked
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.neurons import FACTS
from weightatlas.weights.set_chunks import ChunkConfig
from weightatlas.weights.spec import NetworkSpec

ADAPT_ROWS = 256
FLOOR = 1e-6


class SneConfig(Config):
    """Settings of SNE; the defaults are exactly invariant to permutations of hidden neurons.

    Args:
        dim: Width of all vectors.
        heads: Attention heads.
        blocks: Set attention blocks per stack.
        stacks: Stacks per set encoder: 2, with positions between them, or 1 before the positions.
        seeds: Vectors that describe a network; the embedding has `seeds * dim` numbers.
        chunks: How tensors are cut.
        positions: Which positions are added.
        scale: "type" divides weights by their spread per kind of tensor, measured on the training
            networks; "fan" multiplies them by the root of their fan-in before, and compresses large ones;
            "none" takes them as they are.
        standardize: Center and scale the embedding by what the untrained encoder gives training networks.
            Without it, embeddings of different networks differ by 2 % of their size at first, and heads
            learn the mean.
        form: "published" set blocks; "residual" ones, through which differences between networks survive; or
            "mean": no set functions, items by themselves and then averaged.
        hierarchy: Tensors and layers are described in turn; without, a network is the set of its chunks.
        linked: Beside every weight stands what is known of the two neurons it links.
        pointwise: Scalars of a chunk are not related before they are pooled; residual blocks only.
        inducing: Points through which sets attend (ISAB), or none; residual blocks only.
        pass_items: Scalars, chunks or layers of one pass; bounds the memory.
        keep_items: Up to this many of them in a batch, activations are kept for the backward pass; of
            more, they are computed again.
    """

    dim: int = Field(default=64, ge=2)
    heads: int = Field(default=4, ge=1)
    blocks: int = Field(default=2, ge=1)
    stacks: Literal[1, 2] = 2
    seeds: int = Field(default=1, ge=1)
    chunks: ChunkConfig = ChunkConfig()
    positions: Positions = Positions()
    scale: Literal["type", "fan", "none"] = "type"
    standardize: bool = True
    form: Literal["published", "residual", "mean"] = "published"
    hierarchy: bool = True
    linked: bool = False
    pointwise: bool = False
    inducing: int | None = Field(default=None, ge=1)
    pass_items: int = Field(default=2**16, ge=1)
    keep_items: int = Field(default=2**19, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> "SneConfig":
        if self.dim % self.heads or self.dim % 2:
            raise ValueError(f"dim={self.dim} must be even and a multiple of heads={self.heads}")
        if self.form != "residual" and (self.pointwise or self.inducing):
            raise ValueError("pointwise and inducing need form='residual'")
        return self


@encoders.register("sne")
class Sne(Encoder):
    """Set-based neural network encoder (Andreis et al., 2024).

    Weights and biases are cut into chunks. Chunk, tensor, layer and network are each described by two stacks
    of set attention with positions between them and attention pooling. Nothing depends on an
    architecture's sizes; a batch may mix architectures, whose sets are packed by size.

    Example:
        >>> from weightatlas.encoders.io import create_encoder
        >>> sum(p.numel() for p in create_encoder("sne").parameters())
        319680

    Args:
        config: Sizes and options.
        spec: Not used; any layout is accepted.
    """

    Settings: ClassVar[type[Config]] = SneConfig
    accepts = "any"
    name = "sne"
    config: SneConfig
    spread: Float[Tensor, " kinds"]
    center: Float[Tensor, " dim"]
    width: Float[Tensor, " dim"]

    def __init__(self, config: SneConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config, None)
        sizes = (config.dim, config.heads, config.blocks)
        numbers = 1 + 2 * FACTS * config.linked
        if config.form == "residual":
            each = {"seeds": config.seeds, "inducing": config.inducing}
            inner = {"seeds": config.seeds, "width_in": numbers, "pointwise": config.pointwise}
            self.of_chunk: nn.Module = ResidualSetEncoder(*sizes, **inner, inducing=config.inducing)
            self.of_tensor: nn.Module = ResidualSetEncoder(*sizes, **each)
            self.of_layer: nn.Module = ResidualSetEncoder(*sizes, **each)
            self.of_network: nn.Module = ResidualSetEncoder(*sizes, **each, width=config.seeds * config.dim)
        elif config.form == "mean":
            self.of_chunk = MeanEncoder(config.dim, config.blocks, numbers)
            self.of_tensor, self.of_layer = (MeanEncoder(config.dim, config.blocks) for _ in range(2))
            self.of_network = MeanEncoder(config.dim, config.blocks, width=config.seeds * config.dim)
        else:
            self.of_chunk = SetEncoder(*sizes, width_in=numbers, stacks=config.stacks)
            self.of_tensor = SetEncoder(*sizes, stacks=config.stacks)
            self.of_layer = SetEncoder(*sizes, stacks=config.stacks)
            self.of_network = SetEncoder(*sizes, seeds=config.seeds, stacks=config.stacks)
        self.magnitudes = Magnitudes() if config.scale == "fan" else None
        self.register_buffer("spread", torch.ones(len(KINDS)))
        self.register_buffer("center", torch.zeros(config.seeds * config.dim))
        self.register_buffer("width", torch.ones(config.seeds * config.dim))

    @torch.no_grad()
    def adapt(self, batch: Batch) -> None:
        """Measure the spread of each kind of tensor, and then of embeddings, on training networks."""
        if self.magnitudes is not None:
            self.magnitudes.adapt(batch)
        elif self.config.scale == "type":
            self._measure(batch)
        if self.config.standardize:
            self.center.zero_()
            self.width.fill_(1.0)
            few = [Weights(g.values[:ADAPT_ROWS], g.spec, g.rows[:ADAPT_ROWS]) for g in batch]
            found = torch.cat([self.encode_groups(pack) for pack in packs(few, ADAPT_ROWS)]).double()
            self.center.copy_(found.mean(0))
            # One unit for all: numbers that hardly vary at first would swing wildly in units of their own.
            self.width.copy_(found.std(0, correction=0).square().mean().sqrt().clamp(min=FLOOR))

    def _measure(self, batch: Batch) -> None:
        """Measure the root mean square of each kind of tensor."""
        squares = torch.zeros(2, len(KINDS), dtype=torch.float64)
        for group in batch:
            values = group.values[:ADAPT_ROWS].double().square().sum(0).cpu()
            sizes = torch.tensor([tensor.size for tensor in group.spec.tensors])
            present = (sizes > 0).nonzero().squeeze(1)
            tensor = torch.repeat_interleave(torch.arange(len(present)), sizes[present])
            kind = self._plan(group.spec).kind.cpu()[tensor]
            squares[0].index_add_(0, kind, values)
            squares[1].index_add_(0, kind, torch.full_like(values, min(len(group), ADAPT_ROWS)))
        found = (squares[0] / squares[1].clamp(min=1)).sqrt()
        # Kinds the training networks lack, or that are zero in all of them, stay as they are.
        self.spread.copy_(torch.where(found > FLOOR, found, 1.0))

    def encode(self, weights: Weights) -> Encoded:
        """Describe networks of one spec by one vector each."""
        return one_code(self.encode_groups([weights]))

    def encode_groups(self, groups: Sequence[Weights]) -> Float[Tensor, "networks dim"]:
        """Describe networks of several specs, group after group, in one pass over all of them."""
        parts = self._parts(groups)
        chunks = self._chunks(parts)
        if self.config.hierarchy:
            tensors = self._tensors(parts, chunks)
            embedding = self._networks(parts, self._layers(parts, tensors))
        else:
            embedding = self._flat(parts, chunks)
        return ((embedding - self.center) / self.width).float()

    def _scaled(self, group: Weights, plan: Plan) -> Weights:
        """Bring the numbers of networks to one scale."""
        if self.magnitudes is not None:
            values = self.magnitudes(group.values, group.spec)
        else:
            sizes = torch.tensor([tensor.size for tensor in group.spec.tensors if tensor.size])
            kind = plan.kind.repeat_interleave(sizes.to(plan.kind.device))
            values = group.values / self.spread.to(group.values.dtype)[kind]
        return Weights(values, group.spec, group.rows)

    def _plan(self, spec: NetworkSpec) -> Plan:
        config = self.config
        return plan_of(spec, config.chunks, config.positions, config.dim, self.spread.device)

    def _parts(self, groups: Sequence[Weights]) -> list[Part]:
        found, first, tables = [], (0, 0, 0), (0, 0, 0)
        for group in groups:
            if len(group) == 0:
                continue
            plan, count = self._plan(group.spec), len(group)
            found.append(Part(self._scaled(group, plan), plan, first, tables))
            sizes = len(plan.kind), len(plan.layer_position)
            first = (first[0] + count, first[1] + count * sizes[0], first[2] + count * sizes[1])
            tables = (tables[0] + sizes[0], tables[1] + len(plan.chunk_tensor), tables[2] + sizes[1])
        return found

    def _chunks(self, parts: list[Part]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Describe all chunks: per size their vectors, the tensor each is of, and its row of positions."""
        every = torch.tensor([c.size for part in parts for c in part.plan.chunks])
        padded = iter(sizes_of(every).tolist())
        buckets: dict[int, list[Read]] = {}
        for part in parts:
            for read in reads_of(part, self.config.linked):
                buckets.setdefault(next(padded), []).append(read)
        slots = sum(size * sum(len(read.tokens) for read in reads) for size, reads in buckets.items())
        again = slots > self.config.keep_items
        tensor_position = torch.cat([part.plan.tensor_position for part in parts])
        return [self._described(size, reads, tensor_position, again) for size, reads in buckets.items()]

    def _described(
        self, size: int, reads: list[Read], tensor_position: Tensor, again: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Describe the chunks of one size."""
        spare = [size - read.tokens.shape[1] for read in reads]
        tokens = torch.cat([F.pad(r.tokens, (0, 0, 0, s)) for r, s in zip(reads, spare, strict=True)])
        mask = None
        if any(spare) or not all(bool(read.real.all()) for read in reads):
            rows = [
                F.pad(r.real, (0, s)).repeat(len(r.tokens) // len(r.real), 1)
                for r, s in zip(reads, spare, strict=True)
            ]
            mask = torch.cat(rows)
        shifts, position = stacked(
            [F.pad(r.position, (0, 0, 0, s)) for r, s in zip(reads, spare, strict=True)]
        )
        template = torch.cat([read.template + shift for read, shift in zip(reads, shifts, strict=True)])
        table = torch.cat([read.table for read in reads])
        position, level = position.to(tokens.dtype), tensor_position.to(tokens.dtype)

        def work(rows: slice) -> Tensor:
            added = position[template[rows]] + level[table[rows], None]
            return self.of_chunk(tokens[rows], None if mask is None else mask[rows], added)

        vectors = in_passes(work, *tokens.shape[:2], budget=self._budget, again=again)
        return vectors, torch.cat([read.tensor for read in reads]), torch.cat([read.row for read in reads])

    def _tensors(self, parts: list[Part], chunks: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        """Describe every tensor of every network by its chunks."""
        vectors, tensor, row = (torch.cat(pieces) for pieces in zip(*chunks, strict=True))
        position = torch.cat([part.plan.chunk_position for part in parts]).to(vectors.dtype)
        count = sum(len(part.weights) * len(part.plan.kind) for part in parts)
        return encode_sets(self.of_tensor, vectors, tensor, count, self._budget, position[row])

    def _flat(self, parts: list[Part], chunks: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        """Describe every network by all its chunks at once."""
        vectors, tensor, row = (torch.cat(pieces) for pieces in zip(*chunks, strict=True))
        position = torch.cat([part.plan.chunk_position for part in parts]).to(vectors.dtype)
        owner = torch.cat([network_of(part, len(part.plan.kind)) for part in parts])
        count = sum(len(part.weights) for part in parts)
        return encode_sets(self.of_network, vectors, owner[tensor], count, self._budget, position[row])

    def _layers(self, parts: list[Part], tensors: Tensor) -> Tensor:
        """Describe every layer by its tensors, weight and bias apart."""
        layer = torch.cat([numbers(part, part.plan.tensor_layer, 2) for part in parts])
        count = sum(len(part.weights) * len(part.plan.layer_position) for part in parts)
        return encode_sets(self.of_layer, tensors, layer, count, self._budget)

    def _networks(self, parts: list[Part], layers: Tensor) -> Tensor:
        """Describe every network by its layers and the special tokens of its residual blocks."""
        items, positions, networks = [layers], [], []
        for part in parts:
            count, plan = len(part.weights), part.plan
            positions.append(plan.layer_position.repeat(count, 1))
            networks.append(network_of(part, len(plan.layer_position)))
        for part in parts:
            count, tokens = len(part.weights), part.plan.tokens.to(layers.dtype)
            items.append(tokens.repeat(count, 1))
            positions.append(torch.zeros_like(items[-1]))
            networks.append(network_of(part, len(tokens)))
        total = sum(len(part.weights) for part in parts)
        position = torch.cat(positions).to(layers.dtype)
        return encode_sets(
            self.of_network, torch.cat(items), torch.cat(networks), total, self._budget, position
        )

    @property
    def _budget(self) -> Budget:
        return Budget(self.config.pass_items, self.config.keep_items)
