"""Seeds of a bench side by side: each writes a file of its own, the driver joins them."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightatlas.evaluate.protocols.registry import benches
from weightatlas.executors import Executor
from weightatlas.results import append_records, load_records


@dataclass(frozen=True)
class SeedJob:
    """One seed of a bench.

    Args:
        bench: Name of the bench.
        tier: Its size.
        out: Results file of all seeds.
        seed: Which one.
        changes: Settings of the bench.
    """

    bench: str
    tier: str
    out: Path
    seed: int
    changes: Mapping[str, Any]

    @property
    def part(self) -> Path:
        """Results file of this seed; in the same folder, so that zoos and encoders are shared."""
        return self.out.with_name(f"{self.out.stem}.seed{self.seed}.json")


def run_seed(job: SeedJob) -> Path:
    """Measure one seed, beginning with what is already known.

    Returns:
        The results file of this seed.
    """
    from weightatlas.evaluate import protocols  # noqa: F401 (registers the benches)

    if job.out.exists() and not job.part.exists():
        shutil.copyfile(job.out, job.part)
    # The first seed is known by now; naming it keeps what benches measure once from being measured again.
    benches.get(job.bench)(tier=job.tier, out=job.part, seeds=(0, job.seed), **job.changes)
    return job.part


def spread_seeds(
    name: str, tier: str, out: Path, seeds: int, changes: Mapping[str, Any], executor: Executor
) -> None:
    """Measure the first seed here, which makes the zoos that all share, and the others side by side.

    Interrupted, the same call continues: the files of unfinished seeds stay beside the results file.

    Args:
        name: Of the bench.
        tier: Its size.
        out: Results file.
        seeds: How many; the first is 0.
        changes: Settings of the bench.
        executor: Where the other seeds run.
    """
    benches.get(name)(tier=tier, out=out, seeds=(0,), **changes)
    jobs = [SeedJob(name, tier, out.absolute(), seed, changes) for seed in range(1, seeds)]
    for part in executor.map(run_seed, jobs):
        append_records(out, load_records(part))
        part.unlink()
