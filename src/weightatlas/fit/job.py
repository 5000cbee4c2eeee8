"""A training as a task that another process can do, and sweeps: many of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from weightatlas.encoders.base import Encoder, encoders
from weightatlas.encoders.io import create_for
from weightatlas.errors import ConfigError, gather
from weightatlas.executors import Executor, create_executor
from weightatlas.fit.config import FitConfig
from weightatlas.fit.loop import fit
from weightatlas.objectives.composite import build_loss
from weightatlas.processes import Processes, connect
from weightatlas.runtime import memory_budget
from weightatlas.tasks import QueryPool
from weightatlas.zoo import Zoo
from weightatlas.zoo.mapped import within

Job = TypeVar("Job", bound="FitJob")


@dataclass(frozen=True)
class FitJob:
    """Everything that decides one training.

    Args:
        method: Name of the encoder.
        settings: Settings of the encoder.
        training: Settings of the loop; none for an encoder in closed form.
        zoo: Folder of the zoo.
        out: Folder of the run.
        init_seed: Seed of the encoder's initialization.
        query_source: Images that networks are run on.
    """

    method: str
    settings: Mapping[str, Any]
    training: FitConfig | None
    zoo: Path
    out: Path
    init_seed: int = 0
    query_source: str = "train"

    @property
    def executes(self) -> bool:
        """Whether networks are executed in training."""
        return self.training is not None and build_loss(self.training.loss, 1).needs_queries

    def connected(self) -> Processes:
        """Meet the processes that were started for this training, if there are several."""
        return connect("auto" if self.training is None else self.training.device)

    def prepared(self) -> tuple[Encoder, Zoo]:
        """Make the encoder, and open the zoo it is trained on.

        Raises:
            SpecError: The encoder does not accept all networks of the zoo.
        """
        whole = Zoo.open(self.zoo)
        encoder = create_for(self.method, whole.specs, self.init_seed, **self.settings)
        if encoder.executes:
            inputs = QueryPool(whole.task(), self.query_source).inputs
            for spec in whole.specs:
                encoder.bind(whole.network(spec), inputs)
        return encoder, whole


def plan(job: FitJob) -> dict[str, Any]:
    """Say what a training would do."""
    encoder, whole = job.prepared()
    sizes = sorted({spec.params for spec in whole.specs})
    layouts = len({spec.layout_id for spec in whole.specs})
    return {
        "method": job.method,
        "encoder parameters": sum(value.numel() for value in encoder.parameters()),
        "training rows": len(whole.split("train")),
        "parameters of a network": sizes[0] if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}",
        **({"layouts": layouts} if layouts > 1 else {}),
        "executes networks": job.executes,
    }


def run_job(job: FitJob) -> dict[str, Any]:
    """Train, or continue; the same job again returns what is finished.

    Returns:
        Folder, steps, passes, seconds, the last line of the log, and whether it is finished.
    """
    processes = job.connected()
    with processes.shared():
        encoder, whole = job.prepared()
        budget, training = memory_budget(), job.training
    if training is not None:
        training = training.replace(targets_mb=min(training.targets_mb, budget / 4))
    place, held = job.out / "training.rows", job.out / "validation.rows"
    result = fit(
        encoder,
        processes.main_first(lambda: within(whole.split("train"), place, budget / 4)),
        training,
        job.out,
        queries=QueryPool(whole.task(), job.query_source) if job.executes else None,
        population=whole.population() if job.executes else None,
        validation=processes.main_first(lambda: within(whole.split("val"), held, budget / 4)),
        about={"init_seed": job.init_seed},
    )
    last = {name: value for name, value in (result.history or [{}])[-1].items() if name != "step"}
    facts = {"steps": result.steps, "passes": result.passes, "seconds": result.seconds, **last}
    return {"run": job.out.name, **facts, "finished": result.finished}


def sweep_jobs(job: Job, values: Mapping[str, Sequence[Any]]) -> list[Job]:
    """Make a job for every combination of values, each with a folder of its own inside `job.out`.

    Args:
        job: What all have in common.
        values: Setting -> its values; settings of the loop, of the encoder, or "seed", which is the seed of
            the order and of the initialization.

    Raises:
        ConfigError: A setting is unknown, or a value is refused.
    """
    factory: Any = encoders.get(job.method)
    inner: dict[str, Any] = factory.Settings.model_fields
    outer: dict[str, Any] = {"seed": int} if job.training is None else FitConfig.model_fields
    known = {**inner, **outer}
    unknown = [name for name in values if name not in known]
    bare = [name for name, own in values.items() if not isinstance(own, list) or not own]
    problems = [f"'{name}' is no setting of {job.method} or of the training" for name in unknown]
    problems += [f"'{name}' needs a list of values" for name in bare]
    gather(ConfigError, problems, todo="Write a sweep as --sweep seed=[0,1,2] latent=[8,16].")
    jobs = []
    for choice in product(*values.values()):
        changes = dict(zip(values, choice, strict=True))
        own = {name: value for name, value in changes.items() if name in inner}
        loop = {name: value for name, value in changes.items() if name in outer}
        settings = factory.Settings.build({**job.settings, **own}).model_dump()
        jobs.append(
            replace(
                job,
                settings=settings,
                training=job.training and FitConfig.build({**job.training.model_dump(), **loop}),
                out=job.out / "-".join(f"{name}={value}" for name, value in changes.items()),
                init_seed=changes.get("seed", job.init_seed),
            )
        )
    return jobs


def sweep(
    job: Job,
    values: Mapping[str, Sequence[Any]],
    executor: str | Executor = "serial",
    work: Callable[[Job], dict[str, Any]] = run_job,
) -> list[dict[str, Any]]:
    """Train every combination of values; what is finished is not trained again.

    Args:
        job: What all have in common.
        values: Setting -> its values, see `sweep_jobs`.
        executor: Where trainings run.
        work: What trains one job.

    Returns:
        One line per run, as `run_job` returns them, in the order of their names.
    """
    place = {"zoo": job.zoo.absolute(), "out": job.out.absolute()}  # a worker may stand in another folder
    jobs = sweep_jobs(replace(job, **place), values)
    found = create_executor(executor).map(work, jobs)
    return sorted(found, key=lambda line: line["run"])
