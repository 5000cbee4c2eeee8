"""What are these checkpoints? Format, family, health, spectra and an estimate, a bounded batch at a time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightatlas.errors import DataError, WeightAtlasError
from weightatlas.predict.estimate import Estimate, Estimator
from weightatlas.progress import track
from weightatlas.relate.health import Health, examine_tensors, rows_of_numbers
from weightatlas.relate.tensor_rows import digest_of, dtypes_of, rows_of, statistics_of
from weightatlas.weights.batch import weights_of
from weightatlas.weights.family import Family, family_of, only_data
from weightatlas.weights.files import FileReport, StoredNetwork, read_checkpoint
from weightatlas.weights.infer import Inferred, infer
from weightatlas.weights.spec import NetworkSpec

_BYTES = 1 << 25  # bytes of checkpoints held at once
_FILES = 256
Shapes = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass
class Inspection:
    """What is known about one network of one file.

    Args:
        file: The file.
        network: What the file calls it; empty if it holds only one.
        format: Kind of file.
        family: Name, depth and fingerprint.
        tensors: Number of tensors, integer ones included.
        parameters: Floating numbers, tied tensors once.
        dtype: Number types in the file, the most frequent first.
        digest: Hash of all numbers under their names.
        health: In a few words: "ok", or what was found.
        findings: One line each: severity, tensor, kind, text.
        coverage: Share of the weight numbers whose whole spectrum was computed.
        rows: One line per tensor: name, shape, dtype, role, statistics, spectrum.
        alpha: Median power-law exponent of the weight matrices; NaN if none is large enough.
        stable_rank: Median stable rank of the weight matrices; NaN if there are none.
        estimates: Of a run's properties, or why not.
        guesses: What was concluded about its layers and groups.
        opened: Keys that were opened to reach the tensors.
        renamed: Number of renamed tensors.
        skipped: Key -> why it is in no network.
        same_as: An earlier file with the same numbers, or none.
    """

    file: str
    network: str
    format: str
    family: Family
    tensors: int
    parameters: int
    dtype: str
    digest: str
    health: str = "ok"
    findings: list[dict[str, str]] = field(default_factory=list)
    coverage: float = 1.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    alpha: float = nan
    stable_rank: float = nan
    estimates: list[Estimate] = field(default_factory=list)
    guesses: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
    renamed: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    same_as: str | None = None

    @property
    def not_finite(self) -> int:
        """Values that are NaN or infinite."""
        return sum(row["not finite"] for row in self.rows)


@dataclass
class _Open:
    """A network that was read and waits for its batch."""

    file: str
    report: FileReport
    stored: StoredNetwork
    shapes: Shapes
    result: Inspection | None = None

    @property
    def key(self) -> tuple[Shapes, tuple[str, ...], bool]:
        """What a layout is inferred from: names, shapes, the graph if there is one, the order of flattens."""
        steps = tuple(step.model_dump_json() for step in self.stored.graph)
        return self.shapes, steps, self.stored.channels_last


class Inspector:
    """Inspects checkpoints; what is inferred from names and shapes is inferred once per architecture.

    Args:
        estimator: Predictor of a run, or none.
        spectra: Also compute singular values.
    """

    def __init__(self, estimator: Estimator | None = None, spectra: bool = True) -> None:
        self.estimator, self.spectra = estimator, spectra
        self.known: dict[tuple[Shapes, tuple[str, ...], bool], tuple[Inferred, Family]] = {}

    def inspect(self, files: Sequence[Path]) -> tuple[list[Inspection], dict[Path, str]]:
        """Inspect files; memory is bounded by the largest file and a fixed sum of small ones.

        Args:
            files: Checkpoint files.

        Returns:
            One inspection per network in the order of the files, and file -> why it could not be read.
        """
        failed: dict[Path, str] = {}
        found: list[Inspection] = []
        with track(len(files), "inspecting") as progress:
            for batch in _batches(files):
                opened = list(self._open(batch, failed))
                for group in _grouped(opened):
                    self._try(group, failed)
                found += [one.result for one in opened if one.result is not None]
                progress.advance(len(batch))
        _mark_copies(found)
        return found, failed

    def _try(self, group: list[_Open], failed: dict[Path, str]) -> None:
        """Look at networks; whatever goes wrong with one file, the others are still told about."""
        try:
            self._examine(group)
        except DataError as error:
            failed.update((Path(one.file), f"{one.file} {error.what}.") for one in group)
        except Exception as error:
            what = f"was read, but not understood: {type(error).__name__}: {error}"
            failed.update((Path(one.file), f"{one.file} {what}") for one in group)

    def _open(self, files: Sequence[Path], failed: dict[Path, str]) -> Iterator[_Open]:
        for path in files:
            try:
                checkpoint = read_checkpoint(path)
            except WeightAtlasError as error:
                failed[path] = str(error)
                continue
            for stored in checkpoint.networks:
                shapes = tuple(
                    (name, tuple(t.shape)) for name, t in stored.tensors.items() if t.is_floating_point()
                )
                if shapes:
                    yield _Open(str(path), checkpoint.report, stored, tuple(sorted(shapes)))
                else:
                    failed[path] = f"{path} holds no floating tensors."

    def _examine(self, group: list[_Open]) -> None:
        """Look at networks with the same names and shapes at once."""
        first = group[0]
        if first.key not in self.known:
            last = first.stored.channels_last
            inferred = infer(first.stored.tensors, graph=first.stored.graph, channels_last=last)
            self.known[first.key] = inferred, family_of(inferred)
        inferred, family = self.known[first.key]
        spec = inferred.spec
        if reason := only_data(inferred, first.report.format):
            raise DataError(reason)
        aliased = {alias for tensor in spec.tensors for alias in tensor.aliases}
        if aliased and any(not _shared(one.stored.tensors, spec) for one in group):
            # Tied in one file, apart in another.
            inferred = infer(dict(first.shapes), channels_last=first.stored.channels_last)
            spec, family = inferred.spec, family_of(inferred)
        stacked = {t.name: _stacked([one.stored.tensors[t.name] for one in group]) for t in spec.tensors}
        health = examine_tensors(stacked, spec, spectra=self.spectra)
        statistics = {name: statistics_of(values) for name, values in stacked.items()}
        for row, one in enumerate(group):
            one.result = _result(one, inferred, family, health, row)
            one.result.rows = rows_of(one.stored, spec, health, row, statistics)
        self._estimate(group, spec, stacked)

    def _estimate(self, group: list[_Open], spec: NetworkSpec, stacked: dict[str, Tensor]) -> None:
        """Apply the run's predictor to the networks that are finite."""
        if self.estimator is None:
            return
        properties = self.estimator.predictor.properties_
        fitted = self.estimator.spec_of(dict(group[0].shapes), spec)
        good = [row for row, one in enumerate(group) if one.result is not None and not one.result.not_finite]
        for row, one in enumerate(group):
            reason = self.estimator.refusal(spec) if fitted is None else "some of its values are not finite"
            if one.result is not None and (fitted is None or row not in good):
                one.result.estimates = [Estimate(name, reason=reason) for name in properties]
        if fitted is None or not good:
            return
        values = torch.cat([rows_of_numbers(stacked[t.name][good]).float() for t in fitted.tensors], dim=1)
        for row, estimates in zip(good, self.estimator.estimate(weights_of(values, fitted)), strict=True):
            result = group[row].result
            assert result is not None
            result.estimates = estimates


def _batches(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Cut a list of files where their sizes reach a bound."""
    batch: list[Path] = []
    total = 0
    for path in files:
        size = path.stat().st_size if path.is_file() else 0
        if batch and (total + size > _BYTES or len(batch) >= _FILES):
            yield batch
            batch, total = [], 0
        batch.append(path)
        total += size
    if batch:
        yield batch


def _stacked(tensors: list[Tensor]) -> Tensor:
    """Add a network axis; a single, perhaps large, tensor is not copied."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(tensors)


def _grouped(opened: Iterable[_Open]) -> list[list[_Open]]:
    groups: dict[object, list[_Open]] = {}
    for one in opened:
        dtypes = tuple(str(one.stored.tensors[name].dtype) for name, _ in one.shapes)
        groups.setdefault((one.key, dtypes), []).append(one)
    return list(groups.values())


def _result(one: _Open, inferred: Inferred, family: Family, health: Health, row: int) -> Inspection:
    stored = one.stored
    alphas = [float(s.alpha[row]) for s in health.spectra]
    ranks = [float(s.stable_rank[row]) for s in health.spectra]
    findings = [
        {"severity": f.severity, "tensor": f.tensor, "kind": f.kind, "text": f.text} for f in health.of(row)
    ]
    return Inspection(
        file=one.file,
        network=stored.name,
        format=one.report.format,
        family=family,
        tensors=len(stored.tensors),
        parameters=inferred.spec.params,
        dtype=dtypes_of(stored),
        digest=digest_of(stored.tensors),
        health=health.verdict(row),
        findings=findings,
        coverage=health.coverage,
        alpha=_median(alphas),
        stable_rank=_median(ranks),
        guesses=tuple(map(str, inferred.guesses)),
        opened=stored.opened,
        renamed=len(stored.renamed),
        skipped=dict(one.report.skipped),
    )


def _mark_copies(found: list[Inspection]) -> None:
    """Point from a network to an earlier one with the same numbers."""
    first: dict[str, Inspection] = {}
    for one in found:
        original = first.setdefault(one.digest, one)
        if original is not one:
            one.same_as = f"{original.file}:{original.network}" if original.network else original.file


def _shared(tensors: dict[str, Tensor], spec: NetworkSpec) -> bool:
    pairs = [(t.name, alias) for t in spec.tensors for alias in t.aliases]
    return all(tensors[a].data_ptr() == tensors[b].data_ptr() for a, b in pairs)


def _median(values: list[float]) -> float:
    known = sorted(value for value in values if isfinite(value))
    return known[len(known) // 2] if known else nan
