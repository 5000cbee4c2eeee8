"""A supervised training as a task that another process can do: an encoder and its head, on properties."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from weightatlas.encoders.base import Autoencoder, encoders
from weightatlas.fit.job import FitJob, plan
from weightatlas.predict.features import splits_of
from weightatlas.predict.finetune import Finetuned, Finetuning
from weightatlas.predict.kinds import scales_of, with_classes
from weightatlas.predict.property import PropertyPredictor
from weightatlas.runtime import memory_budget
from weightatlas.weights.batch import Batch
from weightatlas.zoo import Zoo
from weightatlas.zoo.mapped import within


@dataclass(frozen=True)
class PropertyJob(FitJob):
    """A training of an encoder that cannot rebuild networks.

    Args:
        properties: What is predicted.
        tuning: Head, regularizer and selection; `training` says how long and how fast.
        kinds: Property -> "real", "log" or "class"; told from the columns for others.
    """

    properties: tuple[str, ...] = ("test_acc",)
    tuning: Finetuning = field(default_factory=Finetuning)
    kinds: Mapping[str, str] = field(default_factory=dict)


def is_supervised(method: str) -> bool:
    """Say whether an encoder is trained on properties, because it has no decoder.

    Example:
        >>> from weightatlas.encoders import io
        >>> is_supervised("sne"), is_supervised("sane")
        (True, False)

    Args:
        method: Registered name of the encoder.
    """
    factory: Any = encoders.get(method)
    return not issubclass(factory, Autoencoder)


def plan_properties(job: PropertyJob) -> dict[str, Any]:
    """Say what a training would do."""
    scales = scales_of(Zoo.open(job.zoo), job.properties, job.kinds)
    shown = [s.name if s.kind in ("real", "accuracy") else f"{s.name} ({s.kind})" for s in scales]
    return {**plan(job), "properties": ", ".join(shown)}


def run_property_job(job: PropertyJob) -> dict[str, Any]:
    """Train, or continue; the same job again returns what is finished.

    The run's folder then holds a predictor, which `PropertyPredictor.load` reads.

    Returns:
        Folder, properties, the last line of the log, and whether it is finished.
    """
    processes = job.connected()
    with processes.shared():
        encoder, whole = job.prepared()
        known = splits_of(whole)
        budget = memory_budget()
    networks = {"training": whole.split("train") if "train" in known else whole}
    networks |= {"validation": whole.split("val")} if "val" in known else {}

    scales = scales_of(networks["training"], job.properties, job.kinds, networks.get("validation"))
    numbers = tuple(scale.name for scale in scales if scale.kind != "class")

    def read() -> dict[str, Batch]:
        places = {part: job.out / f"{part}.rows" for part in networks}
        found = {part: within(own, places[part], budget / 4, numbers) for part, own in networks.items()}
        return {part: with_classes(batch, networks[part], scales) for part, batch in found.items()}

    data = processes.main_first(read)
    tuning = job.tuning if job.training is None else job.tuning.replace(fit=job.training)
    predictor = PropertyPredictor(encoder, seed=job.init_seed, finetune=tuning)
    predictor.fit(data["training"], job.properties, data.get("validation"), job.out, scales)
    found = predictor.fitted_
    assert isinstance(found, Finetuned)
    with processes.shared():
        if found.finished and processes.main:
            predictor.save(job.out)
    last = dict((found.history or [{}])[-1])
    steps = last.pop("step", 0)
    facts = {"properties": ", ".join(job.properties), "steps": steps, **last}
    return {"run": job.out.name, **facts, "finished": found.finished}
