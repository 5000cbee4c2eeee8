"""How well kinship is told where hidden units are not certain: a part of `bench lineage`."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from weightatlas.relate.compare import RELATED, Relation, compare
from weightatlas.relate.nursery import Nursery
from weightatlas.relate.rates import clopper_pearson, clustered_upper
from weightatlas.relate.relatives import RELATIONS, relatives
from weightatlas.relate.tensorwise import tensor_evidence
from weightatlas.weights.spec import NetworkSpec, Segment

RENUMBERED = ("permuted", "rescaled", "merged after matching")  # what the stored order cannot show


def bare_of(spec: NetworkSpec) -> NetworkSpec:
    """Forget all that is known of symmetries: what is left of a checkpoint of unknown code.

    Args:
        spec: The layout.
    """
    tensors = tuple(
        tensor.replace(axes=tuple((Segment(members=size),) for size in tensor.shape))
        for tensor in spec.tensors
    )
    return NetworkSpec(tensors=tensors)


@dataclass
class Unmatched:
    """Verdicts on networks of several architectures whose symmetries were forgotten.

    Args:
        related: Relatives, with the operations between them.
        siblings: Networks from the same first weights.
        students: Distilled networks beside their teachers.
        p: Of all pairs of strangers.
        pairs: The two networks of each of them.
    """

    related: list[tuple[Relation, tuple[str, ...]]] = field(default_factory=list)
    siblings: list[Relation] = field(default_factory=list)
    students: list[Relation] = field(default_factory=list)
    p: list[Tensor] = field(default_factory=list)
    pairs: list[tuple[int, int]] = field(default_factory=list)

    def look(self, nursery: Nursery, strangers: int, related: int, students: int) -> None:
        """Compare the networks of one architecture.

        Args:
            nursery: Trains them.
            strangers: How many independent networks; all pairs of them are compared.
            related: Pairs per relation.
            students: Distilled networks.
        """
        values, spec = nursery.strangers(strangers), bare_of(nursery.spec)
        bases = values[: min(related, len(values) // 2)]
        partners = values[len(values) // 2 :][: len(bases)]
        for name, made in relatives(nursery, bases, partners):
            if not name.startswith(RENUMBERED):
                self.related += [(found, RELATIONS[name]) for found in _compared(bases, made, spec)]
        self.siblings += _compared(bases, nursery.siblings(len(bases)), spec)
        teachers = values[:students]
        self.students += _compared(teachers, nursery.students(teachers), spec)
        first = len(self.p) * 10_000
        found = [tensor_evidence(values[row + 1 :], values[row], spec) for row in range(len(values) - 1)]
        self.p.append(torch.cat([one.p_value for one in found]))
        self.pairs += [(first + i, first + j) for i in range(len(values)) for j in range(i + 1, len(values))]

    def rows(self) -> Iterator[tuple[str, str, float, int]]:
        """List (method, metric, value, number of pairs)."""
        hits, count = sum(bool(found.related) for found, _ in self.related), len(self.related)
        named = sum(set(found.changes) == set(truth) for found, truth in self.related)
        method = "hidden units forgotten, relatives as they were stored"
        yield method, "detected", hits / count, count
        yield method, "detected, lower 95 %", clopper_pearson(hits, count)[0], count
        yield method, "changes named", named / count, count
        method, p = "hidden units forgotten, strangers", torch.cat(self.p).numpy()
        events = p <= RELATED
        upper = clopper_pearson(int(events.sum()), len(p))[1]
        clusters = clustered_upper(events, np.array(self.pairs))
        yield method, "called related", float(events.mean()), len(p)
        yield method, "called related, upper 95 %", upper, len(p)
        yield method, "called related, upper 95 %, networks as clusters", clusters, len(p)
        yield method, "smallest p", float(p.min()), len(p)
        for label, verdicts in (("siblings", self.siblings), ("distilled students", self.students)):
            share = sum(found.state == "related" for found in verdicts) / len(verdicts)
            yield f"hidden units forgotten, {label}", "called related", share, len(verdicts)


def _compared(first: Tensor, second: Tensor, spec: NetworkSpec) -> list[Relation]:
    """Compare networks pair by pair."""
    return [compare(one, other, spec) for one, other in zip(first, second, strict=False)]
