"""What every row of the NetSpace benches with one architecture is measured by, and what its pictures show."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.evaluate.paths import measure_paths
from weightatlas.evaluate.protocols.netspace_pictures import ACCURACIES, ENDS, PATHS, draw_preps
from weightatlas.evaluate.protocols.netspace_stage import Field
from weightatlas.evaluate.protocols.point_tables import beside, keep_points
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.evaluate.reconstruction import compare
from weightatlas.evaluate.reference import reference_of
from weightatlas.evaluate.relative import aligned_each, relative_distances
from weightatlas.results import Kind, Record

DRAWN = ("weak", "median", "strong")


@dataclass(frozen=True, slots=True)
class Judge:
    """Measures rebuilt networks and paths on the test images, and keeps the points of pictures.

    Args:
        there: Zoo and task.
        field: Networks of the bench.
        bench: Its name, for the records.
        seed: Seed of what is judged.
        out: Results file beside which points are kept; none keeps none.
    """

    there: Stage
    field: Field
    bench: str
    seed: int = 0
    out: Path | None = None

    def rebuilt(
        self,
        networks: Float[Tensor, "networks params"],
        method: str,
        kind: Kind,
        further: dict[str, float] | None = None,
    ) -> list[Record]:
        """Compare rebuilt test networks with their originals.

        "weight distance" is that of a rebuilt network, aligned to its original, in units of the original's
        length; it is left out where a network is not finite.

        Args:
            networks: One per test network.
            method: Name of the row.
            kind: Whether it is ours or a baseline.
            further: More numbers of the row.
        """
        from scipy.stats import spearmanr

        field, test = self.field, self.field.parts["test"]
        exam = field.exam(self.there)
        reference = reference_of(exam, field.parts["train"], field.scores["train"], test, field.spec)
        found = compare(exam, test, networks, reference)
        ours, true = found.accuracy.double().cpu(), found.original.double().cpu()
        self._keep(ACCURACIES, method, ENDS, torch.stack([true, ours], dim=1))
        varies = float(ours.std()) > 1e-9
        far = relative_distances(aligned_each(networks, test, field.spec), test)
        numbers = {
            "accuracy gap": float((ours - true).abs().mean()),
            "rank correlation": float(spearmanr(true, ours)[0]) if varies else 0.0,
            "R2 accuracy": float(1 - (ours - true).square().sum() / (true - true.mean()).square().sum()),
            "original accuracy": float(true.mean()),
            "weight distance": float(far.mean()),
            **(further or {}),
        }
        context = self.there.about(self.bench, self.seed)
        about = {"method": method, "kind": kind, "n": len(test), **context}
        return [
            *found.records(method, kind, **context),
            *(
                Record.build({**about, "metric": name, "value": value})
                for name, value in numbers.items()
                if math.isfinite(value)
            ),
        ]

    def walked(
        self,
        path: Float[Tensor, "paths positions params"],
        ends: tuple[Tensor, Tensor],
        positions: Float[Tensor, " positions"],
        method: str,
        kind: Kind,
    ) -> list[Record]:
        """Measure accuracy along paths.

        Args:
            path: Networks on each path.
            ends: Networks that each path is meant to join.
            positions: Places on a path.
            method: Name of the row.
            kind: Whether it is ours or a baseline.
        """
        exam = self.field.exam(self.there)
        accuracy = exam.accuracy(exam.classes(path.flatten(0, 1))).view(path.shape[:2]).cpu()
        self._keep(PATHS, method, [f"{place:.4f}" for place in positions.tolist()], accuracy)
        original = torch.stack([exam.accuracy(exam.classes(end)) for end in ends], dim=1)
        measured = measure_paths(accuracy, positions, original.cpu())
        return measured.records(method, kind, **self.there.about(self.bench, self.seed))

    def drawn(self, networks: Float[Tensor, "networks params"], method: str) -> None:
        """Draw the weakest, the median and the strongest test network beside what they are rebuilt as."""
        if self.out is None:
            return
        field, test, exam = self.field, self.field.parts["test"], self.field.exam(self.there)
        before, after = (exam.accuracy(exam.classes(values)) for values in (test, networks))
        order = before.argsort()
        rows = order[[0, len(order) // 2, -1]]
        turned = aligned_each(networks[rows], test[rows], field.spec)
        pairs = zip(DRAWN, before[rows].tolist(), after[rows].tolist(), strict=True)
        names = [f"{name}: accuracy {old:.2f}, rebuilt {new:.2f}" for name, old, new in pairs]
        mark = method.replace(", ", "-").replace(" ", "_")
        path = beside(self.out, f"preps-{mark}", "svg")
        draw_preps(path, test[rows].cpu(), turned.cpu(), field.spec, names)

    def _keep(self, table: str, method: str, columns: Sequence[str], points: Tensor) -> None:
        if self.out is not None:
            keep_points(beside(self.out, table, "csv"), method, columns, points.double().cpu().numpy())
