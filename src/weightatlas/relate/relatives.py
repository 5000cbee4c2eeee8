"""The relations of `bench lineage`: networks and what was made of them."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from weightatlas.relate import family
from weightatlas.relate.nursery import Nursery

RELATIONS: dict[str, tuple[str, ...]] = {
    "fine-tuned": ("fine-tuned",),
    "permuted": ("permuted",),
    "rescaled": ("rescaled",),
    "pruned": ("pruned",),
    "quantized": ("quantized",),
    "merged": ("merged",),
    "merged after matching": ("merged",),
    "head replaced": ("fine-tuned", "head replaced"),
    "permuted + rescaled": ("permuted", "rescaled"),
    "permuted + fine-tuned": ("permuted", "fine-tuned"),
    "fine-tuned + pruned": ("fine-tuned", "pruned"),
    "permuted + fine-tuned + quantized": ("permuted", "fine-tuned", "quantized"),
    "permuted + rescaled + fine-tuned": ("permuted", "rescaled", "fine-tuned"),
    "permuted + pruned": ("permuted", "pruned"),
    "permuted + merged": ("permuted", "merged"),
    "permuted + head replaced": ("permuted", "fine-tuned", "head replaced"),
}
_SHARES = (0.3, 0.5, 0.7, 0.8, 0.9)
_PRECISIONS: tuple[family.Precision, ...] = ("float16", "bfloat16", "int8", "int8 per row", "int4 per row")


def relatives(nursery: Nursery, bases: Tensor, partners: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Make one relative of every base for each relation.

    Args:
        nursery: Trains what must be trained.
        bases: Networks as rows.
        partners: Strangers to merge them with, the same number.

    Yields:
        Name of the relation, and one network per base.
    """
    spec, count = nursery.spec, len(bases)
    shares = [_SHARES[i % len(_SHARES)] for i in range(count)]
    tuned = nursery.tuned(bases, "tuned")
    other_head = nursery.tuned(family.headless(bases, spec), "headless", relabel=True)

    def shuffled(values: Tensor) -> Tensor:
        return family.permuted(values, spec, nursery.seed)

    def rounded(values: Tensor) -> Tensor:
        rows = [
            family.quantized(row[None], spec, _PRECISIONS[i % len(_PRECISIONS)])[0]
            for i, row in enumerate(values)
        ]
        return torch.stack(rows)

    def scaled(values: Tensor) -> Tensor:
        return family.rescaled(values, spec, nursery.seed)

    made: dict[str, Callable[[], Tensor]] = {
        "fine-tuned": lambda: tuned,
        "permuted": lambda: shuffled(bases),
        "rescaled": lambda: scaled(bases),
        "pruned": lambda: family.pruned(bases, spec, shares),
        "quantized": lambda: rounded(bases),
        "merged": lambda: family.merged(bases, partners, spec),
        "merged after matching": lambda: family.merged(bases, partners, spec, matched=True),
        "head replaced": lambda: other_head,
        "permuted + rescaled": lambda: shuffled(scaled(bases)),
        "permuted + fine-tuned": lambda: shuffled(tuned),
        "fine-tuned + pruned": lambda: family.pruned(tuned, spec, shares),
        "permuted + fine-tuned + quantized": lambda: shuffled(rounded(tuned)),
        "permuted + rescaled + fine-tuned": lambda: shuffled(scaled(tuned)),
        "permuted + pruned": lambda: shuffled(family.pruned(bases, spec, shares)),
        "permuted + merged": lambda: shuffled(family.merged(bases, partners, spec)),
        "permuted + head replaced": lambda: shuffled(other_head),
    }
    for name in RELATIONS:
        yield name, made[name]()
