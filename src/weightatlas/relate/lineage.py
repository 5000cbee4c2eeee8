"""`bench lineage`: how often relatives are found, strangers accused, and trees rebuilt."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from weightatlas.atomic import write_text
from weightatlas.config import Config
from weightatlas.evaluate.protocols.registry import Card, benches, cards, settings_of
from weightatlas.evaluate.protocols.stage import cache_of
from weightatlas.population.forward import Population
from weightatlas.progress import track
from weightatlas.relate.behavior import can_merge, midpoint_drop, output_likeness
from weightatlas.relate.calibrate import falling, stranger_scores
from weightatlas.relate.compare import RELATED, STRANGERS, Relation, compare
from weightatlas.relate.grove import grow
from weightatlas.relate.null import Null
from weightatlas.relate.nursery import Nursery
from weightatlas.relate.rates import clopper_pearson, clustered_upper
from weightatlas.relate.relatives import RELATIONS, relatives
from weightatlas.relate.tree import family_tree
from weightatlas.relate.unmatched import Unmatched
from weightatlas.results import Record, append_records, finished, load_records, stamped

ZOO = "digits families"


class LineageConfig(Config):
    """Settings of `bench lineage`.

    Args:
        architectures: Whose networks are compared.
        tree_architectures: Whose networks grow into trees.
        epochs: Length of a training.
        strangers: Evaluated networks per architecture; all pairs of them are compared.
        calibration: Further networks per architecture that the null distribution is fitted on.
        related: Pairs per architecture and relation.
        students: Distilled networks per architecture.
        trees: Trees per architecture.
        generations: How often a tree grows.
        each: New networks per generation and tree.
    """

    architectures: tuple[str, ...] = ("digits_cnn", "mlp", "resnet_small", "lenet_digits")
    tree_architectures: tuple[str, ...] = ("digits_cnn", "mlp")
    epochs: int = Field(default=12, ge=1)
    strangers: int = Field(default=104, ge=4)
    calibration: int = Field(default=40, ge=4)
    related: int = Field(default=32, ge=2)
    students: int = Field(default=12, ge=1)
    trees: int = Field(default=10, ge=1)
    generations: int = Field(default=5, ge=1)
    each: int = Field(default=6, ge=1)


cards["lineage"] = Card(
    "are two networks related, and how: strangers, siblings, students and 16 kinds of relatives",
    "its own networks on digits, four architectures",
    {"smoke": 1, "laptop": None, "paper": None},
    ("detected", "detected, lower 95 %", "changes named", "directed edges right"),
    settings=LineageConfig,
)


@benches.register("lineage")
def lineage(
    tier: str, out: str | Path, seeds: Sequence[int] = (0,), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Measure detection, false accusations and tree edges on networks whose history is known.

    The null distribution is fitted on other networks than those evaluated. One seed: networks, not seeds,
    are the sample; the intervals say how sure the rates are.

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Only the first is used.
        cache: Folder of trained networks; beside `out` by default.
        changes: Settings that differ from `presets/benches/lineage.yaml`.
    """
    out, seed = Path(out), seeds[0]
    settings = settings_of("lineage", tier, LineageConfig, changes)
    folder = (cache or cache_of(out)) / "lineage"
    work = _Work(settings, tier, folder, seed)
    command = f"weightatlas bench lineage --tier {tier}"
    with track(3 + 2 * len(settings.architectures), "bench lineage") as bar:
        if not finished(out, "lineage", tier, ZOO, "strangers, same architecture", seed):
            null = work.calibrated(bar.advance)
            write_text(folder / "null.yaml", null.to_yaml())
            append_records(out, stamped(work.relations(null, bar.advance), command))
        bar.advance(note="relations")
        if not finished(out, "lineage", tier, ZOO, "trees, every child on data of its own", seed):
            null = Null.from_yaml(folder / "null.yaml")
            append_records(out, stamped(work.trees(null), command))
        bar.advance(note="trees")
        if not finished(out, "lineage", tier, ZOO, "hidden units forgotten, strangers", seed):
            append_records(out, stamped(work.unmatched(), command))
        bar.advance(note="hidden units forgotten")
    return [r for r in load_records(out) if (r.bench, r.tier) == ("lineage", tier)]


@dataclass
class _Work:
    """One run of the bench."""

    settings: LineageConfig
    tier: str
    folder: Path
    seed: int

    def nursery(self, name: str, part: str = "evaluated") -> Nursery:
        return Nursery(name, self.folder, self.settings.epochs, part, self.seed)

    def calibrated(self, step: Any) -> Null:
        """Fit what strangers look like on the calibration networks."""
        scores, outputs, drops = [], [], []
        for name in self.settings.architectures:
            nursery = self.nursery(name, "calibration")
            values = nursery.strangers(self.settings.calibration)
            found = stranger_scores(values, nursery.spec)
            scores.append(found.scores)
            outputs.append(_upper(output_likeness(*[_outputs(nursery, values)] * 2)))
            half = min(len(values) // 2, self.settings.related)
            seconds = [nursery.tuned(values[:half], "tuned"), values[half : 2 * half]]
            seconds.append((values[:half] + nursery.tuned(values[:half], "tuned").roll(1, 0)) / 2)
            for second in seconds:
                drops += _drops(nursery, values[:half], second)
            step(note=f"calibration, {name}")
        all_scores = torch.cat(scores)
        networks = self.settings.calibration * len(self.settings.architectures)
        null = Null.fit(all_scores, networks, f"bench lineage, {self.tier}")
        limit = float(torch.quantile(torch.cat(outputs), 0.999))
        return null.replace(outputs=limit, drops=falling(drops))

    def relations(self, null: Null, step: Any) -> list[Record]:
        """Compare everything whose relation is known."""
        found: dict[str, list[tuple[Relation, tuple[str, ...]]]] = {name: [] for name in RELATIONS}
        siblings, students, excused = [], [], []
        joint, pairs, same, predicted, measured = [], [], [], [], []
        for number, name in enumerate(self.settings.architectures):
            nursery, count = self.nursery(name), self.settings.related
            values = nursery.strangers(self.settings.strangers)
            spec, own = nursery.spec, slice(0, count)
            strangers = stranger_scores(values, spec)
            joint.append(strangers.p_values(null))
            pairs.append(strangers.pairs + 10_000 * number)
            same.append((strangers.pairs % 8)[:, 0] == (strangers.pairs % 8)[:, 1])
            bases = values[: min(count, len(values) // 2)]
            partners = values[len(values) // 2 :][: len(bases)]
            for relation, made in relatives(nursery, bases, partners):
                rows = zip(bases, made, strict=True)
                found[relation] += [(compare(a, b, spec, null=null), RELATIONS[relation]) for a, b in rows]
            brothers = nursery.siblings(len(bases))
            siblings += [compare(a, b, spec, null=null) for a, b in zip(values[own], brothers, strict=False)]
            pupils = nursery.students(values[: self.settings.students])
            teachers = values[: self.settings.students]
            alike = output_likeness(_outputs(nursery, teachers), _outputs(nursery, pupils)).diagonal()
            students += [compare(a, b, spec, null=null) for a, b in zip(teachers, pupils, strict=True)]
            excused += (alike > null.outputs).tolist()
            for second in (nursery.tuned(bases, "tuned"), partners, brothers):
                for score, drop in _drops(nursery, bases, second):
                    predicted.append(can_merge(score, null))
                    measured.append(drop)
            step(note=f"relations, {name}")
        records = [record for name, rows in found.items() for record in self._detected(name, rows)]
        everything = [row for rows in found.values() for row in rows]
        records += self._detected("all weight-derived relations", everything)
        records += self._strangers(torch.cat(joint), np.concatenate(pairs), np.concatenate(same))
        records += self._states("siblings, same first weights", siblings)
        records += self._states("distilled students, weights only", students)
        late = [
            Relation("undecided") if excuse and found.state == "independent" else found
            for found, excuse in zip(students, excused, strict=True)
        ]
        records += self._states("distilled students, outputs compared too", late)
        records += self._mergeable(predicted, measured)
        return records

    def _detected(self, method: str, rows: list[tuple[Relation, tuple[str, ...]]]) -> list[Record]:
        """Rates of one relation."""
        hits = sum(bool(found.related) for found, _ in rows)
        named = sum(set(found.changes) == set(truth) for found, truth in rows)
        ways = [found.direction for found, _ in rows if found.direction is not None]
        right = sum(way == "first to second" for way in ways)
        numbers = {
            "detected": hits / len(rows),
            "detected, lower 95 %": clopper_pearson(hits, len(rows))[0],
            "changes named": named / len(rows),
            "direction told": len(ways) / len(rows),
            **({"direction right where told": right / len(ways)} if ways else {}),
        }
        return [self._record(method, name, value, len(rows)) for name, value in numbers.items()]

    def _strangers(self, joint: Tensor, pairs: np.ndarray, same: np.ndarray) -> list[Record]:
        """Rates of false accusations, over all pairs and over those of one recipe."""
        records = []
        p = joint.numpy()
        for label, mask in (("architecture", np.ones(len(p), bool)), ("architecture and recipe", same)):
            if not mask.any():
                continue
            method, own = f"strangers, same {label}", p[mask]
            events, count = own <= RELATED, int(mask.sum())
            numbers = {
                "called related": float(events.mean()),
                "called related, upper 95 %": clopper_pearson(int(events.sum()), count)[1],
                "called related, upper 95 %, networks as clusters": clustered_upper(events, pairs[mask]),
                "undecided": float(((own > RELATED) & (own < STRANGERS)).mean()),
                "p below 0.01": float((own <= 0.01).mean()),
                "smallest p": float(own.min()),
            }
            records += [self._record(method, name, value, count) for name, value in numbers.items()]
        return records

    def _states(self, method: str, found: list[Relation]) -> list[Record]:
        """Shares of verdicts where there is no right or wrong."""
        states = ("related", "undecided", "independent")
        shares = {name: sum(r.state == name for r in found) / len(found) for name in states}
        return [self._record(method, f"called {name}", share, len(found)) for name, share in shares.items()]

    def _mergeable(self, predicted: list[float], measured: list[float]) -> list[Record]:
        """How well the drop of merged networks is predicted."""
        from scipy.stats import spearmanr

        error = float(np.abs(np.subtract(predicted, measured)).mean())
        flat = float(np.abs(np.mean(measured) - np.array(measured)).mean())
        rank = float(np.nan_to_num(spearmanr(predicted, measured)[0]))
        return [
            self._record("merging, predicted drop", "mean absolute error", error, len(measured)),
            self._record("merging, predicted drop", "Spearman", rank, len(measured)),
            self._record("merging, mean drop", "mean absolute error", flat, len(measured), "baseline"),
        ]

    def trees(self, null: Null) -> list[Record]:
        """Grow trees, shuffle their networks, and rebuild them."""
        records = []
        for label, own in (("every child on data of its own", True), ("all on the same data", False)):
            rights, undirected, truth, networks = 0, 0, 0, 0
            for name in self.settings.tree_architectures:
                nursery = self.nursery(name)
                roots = nursery.strangers(self.settings.strangers)[-self.settings.trees :]
                shape = {"generations": self.settings.generations, "each": self.settings.each}
                trees = grow(
                    roots,
                    nursery.spec,
                    lambda rows, time, n=nursery, o=own: n.retrained(rows, f"grove {time}", o),
                    **shape,
                    seed=self.seed,
                )
                for known in trees:
                    edges = family_tree(known.values, nursery.spec, null).arcs
                    rights += len(edges & known.edges)
                    lines = {frozenset(edge) for edge in edges} & {frozenset(edge) for edge in known.edges}
                    undirected, truth = undirected + len(lines), truth + len(known.edges)
                    networks += len(known.values)
            method = f"trees, {label}"
            records.append(self._record(method, "directed edges right", rights / truth, networks))
            records.append(self._record(method, "edges right, either way", undirected / truth, networks))
        return records

    def unmatched(self) -> list[Record]:
        """Compare the same networks as if it were not known which units may be renumbered."""
        found, own = Unmatched(), self.settings
        for name in own.architectures:
            found.look(self.nursery(name), own.strangers, own.related, own.students)
        return [self._record(*row) for row in found.rows()]

    def _record(self, method: str, metric: str, value: float, n: int, kind: Any = "ours") -> Record:
        about = {"bench": "lineage", "tier": self.tier, "zoo": ZOO, "seeds": (self.seed,), "split": "network"}
        return Record(method=method, metric=metric, value=value, n=n, kind=kind, **about)


def _outputs(nursery: Nursery, values: Tensor) -> Tensor:
    """Run networks on the validation images."""
    population = Population(nursery.network, nursery.spec, engine="batched")
    return population.outputs_no_grad(values, nursery.task.split("val")[0])


def _upper(matrix: Tensor) -> Tensor:
    """Entries above the diagonal."""
    rows, columns = torch.triu_indices(*matrix.shape, offset=1)
    return matrix[rows, columns]


def _drops(nursery: Nursery, first: Tensor, second: Tensor) -> list[tuple[float, float]]:
    """Scores of pairs, and what their midpoints lose."""
    population = Population(nursery.network, nursery.spec, engine="batched")
    found = midpoint_drop(population, first, second, *nursery.task.split("test"))
    wide = Null(scores=(-1.0, 1.0), excess=1.0, pairs=0, networks=0)
    scores = [compare(a, b, nursery.spec, null=wide).score for a, b in zip(first, second, strict=True)]
    return list(zip(scores, found.tolist(), strict=True))
