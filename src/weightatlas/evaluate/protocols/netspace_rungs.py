"""Several architectures on one ladder, each a population of its own, and the teacher they learn from."""

from jaxtyping import Float, Int
from pydantic import Field as Setting
from torch import Tensor

from weightatlas.config import Config
from weightatlas.evaluate.protocols.netspace_stage import Field, field_of, queries_of
from weightatlas.evaluate.protocols.stage import Stage, stage
from weightatlas.latent.optimize import Lessons
from weightatlas.zoo.header import NetworkRecord
from weightatlas.zoo.recipe import Recipe, load_recipe
from weightatlas.zoo.zoo import Zoo


class Rungs(Config):
    """Architectures of one space of networks, smallest first, and their teacher.

    Args:
        recipe: Zoo of the smallest; the others are populated alike.
        further: The architectures after it.
        teacher: A larger one, which imitation follows; never embedded.
        teachers: Networks of it that are trained; the best on validation images teaches.
    """

    recipe: str
    further: tuple[NetworkRecord, ...] = Setting(min_length=1)
    teacher: NetworkRecord
    teachers: int = Setting(default=3, ge=1)

    @property
    def count(self) -> int:
        """Number of architectures."""
        return 1 + len(self.further)

    def own(self, tier: str) -> Recipe:
        """Recipe of the smallest architecture."""
        return load_recipe(self.recipe, tier)


def ladder_of(there: Stage, rungs: Rungs, engine: str = "batched") -> list[Field]:
    """Populate all architectures of a ladder, or reopen them.

    Args:
        there: Says tier, cache and device; it may hold any zoo.
        rungs: The architectures.
        engine: Engine that executes networks.
    """
    own = rungs.own(there.tier)
    zoos = [_zoo(there, own)]
    for place, record in enumerate(rungs.further, start=1):
        zoos.append(_zoo(there, _alike(own, f"{own.name}-{place}", record)))
    return [field_of(zoo, engine=engine, device=there.device) for zoo in zoos]


def teacher_outputs(
    there: Stage, rungs: Rungs, inputs: Tensor, engine: str = "batched"
) -> Float[Tensor, "queries classes"]:
    """Outputs of the best teacher by validation accuracy.

    Args:
        there: Says tier, cache and device.
        rungs: Its architecture.
        inputs: Images.
        engine: Engine that executes it.
    """
    own = rungs.own(there.tier)
    zoo = _zoo(
        there, _alike(own, f"{own.name}-teacher{rungs.teachers}", rungs.teacher, replicates=rungs.teachers)
    )
    best = int(zoo.column("val_acc").argmax())
    values = zoo.weights().values[best : best + 1].to(inputs.device)
    return zoo.population(engine=engine).outputs_no_grad(values, inputs)[0]


def lessons_of(there: Stage, rungs: Rungs, engine: str = "batched") -> Lessons:
    """Training images with the teacher's outputs, and validation images to choose by."""
    pool, held = queries_of(there, lambda inputs: teacher_outputs(there, rungs, inputs, engine))
    labels: list[Int[Tensor, " images"]] = [part for part in (pool.answers, held.answers) if part is not None]
    return Lessons(pool.inputs, labels[0], pool.teacher, held.inputs, labels[1])


def _alike(own: Recipe, name: str, record: NetworkRecord, **changes: int) -> Recipe:
    return own.replace(name=name, network=record.name, network_options=record.options, **changes)


def _zoo(there: Stage, recipe: Recipe) -> Zoo:
    return stage(recipe, there.tier, there.cache, str(there.device)).zoo
