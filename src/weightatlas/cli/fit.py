"""weightatlas fit METHOD: the flags are the settings of the method and of the training loop."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from weightatlas.cli import console, several
from weightatlas.cli.arguments import pairs as pairs_of
from weightatlas.cli.arguments import settings as settings_of
from weightatlas.cli.main import apart

if TYPE_CHECKING:
    from weightatlas.config import Config
    from weightatlas.fit.job import FitJob


def fit(method: Annotated[str, tyro.conf.Positional], zoo: Path, out: Path) -> None:
    """Train an encoder on the training networks of a zoo; running again continues.

    Encoders that rebuild networks (sane, pca, ...) learn from the networks alone; all others (sne, nfn, ...)
    are trained together with a head on properties, `test_acc` unless `--property` says otherwise. Those in
    closed form (pca, activation, activation_sparse) take no settings of training.
    `weightatlas fit METHOD --help` lists all settings of a method; `--preset NAME` starts from published or
    proven ones, `--config FILE` from the training settings of another run.

    Example:
        weightatlas fit sane --zoo runs/digits-zoo --out runs/sane --minutes 2
        weightatlas fit activation --zoo runs/digits-zoo --out runs/activation
        weightatlas fit sane --preset sane_small --zoo runs/digits-zoo --out runs/sane
        weightatlas fit sne --preset sne_safe --zoo runs/digits-zoo --out runs/sne --property test_acc
        weightatlas fit sane --zoo runs/digits-zoo --out runs/sane --minutes 2 --processes 2
        accelerate launch -m weightatlas fit sane --zoo runs/digits-zoo --out runs/sane --minutes 2

    Args:
        method: The encoder: sane, pca, sne, ...
        zoo: Folder of the zoo.
        out: Folder of the run.
    """


def prepare(words: Sequence[str]) -> tuple[Callable[..., Any], str, list[str]]:
    """Find the function for a method, whose flags only the method knows.

    Args:
        words: What follows `fit`.

    Returns:
        The function, the name it goes by, and the words left for its flags.
    """
    if not words or words[0].startswith("-"):
        return fit, "fit", list(words)
    from weightatlas.encoders import io  # noqa: F401 (registers the encoders)
    from weightatlas.encoders.base import encoders
    from weightatlas.fit import FitConfig
    from weightatlas.predict.job import is_supervised

    factory: Any = encoders.get(words[0])
    name = f"fit {words[0]}"
    if factory.closed_form:
        return _function(words, factory.Settings, None, None, closed=True), name, list(words[1:])
    (encoder, training, tuning), rest = _defaults(words[0], list(words[1:]), factory.Settings, FitConfig)
    if is_supervised(words[0]):
        return _supervised(words, factory.Settings, encoder, training, tuning), name, rest
    return _function(words, factory.Settings, encoder, training), name, rest


def _defaults(
    method: str, words: list[str], settings: "type[Config]", training: "type[Config]"
) -> tuple[tuple[Any, Any, dict[str, Any]], list[str]]:
    """Take `--preset NAME` and `--config FILE` out of the words: what they say become the flags' defaults."""
    from weightatlas.errors import ConfigError
    from weightatlas.fit.presets import preset, presets

    found = []
    for flag, what, todo in (
        ("--preset", "a name", f"Known: {', '.join(presets())}."),
        ("--config", "a YAML file", "For example RUN/config.yaml of another run."),
    ):
        words = apart(words, flag)
        place = words.index(flag) if flag in words else None
        if place is not None and place + 1 == len(words):
            raise ConfigError(f"{flag} needs {what}.", todo=todo)
        found.append(None if place is None else words[place + 1])
        words = words if place is None else words[:place] + words[place + 2 :]
    name, file = found
    encoder, length, tuning = None, None, {}
    if name is not None:
        chosen = preset(name)
        if chosen.encoder != method:
            todo = f"Write: weightatlas fit {chosen.encoder} --preset {name}."
            raise ConfigError(
                f"The preset '{name}' is for the encoder '{chosen.encoder}', not '{method}'.", todo=todo
            )
        encoder, length, tuning = settings.build(chosen.settings), chosen.fit, chosen.predict
    return (encoder, training.from_yaml(file) if file is not None else length, tuning), words


def _function(
    words: Sequence[str], settings: "type[Config]", known: Any, defaults: Any, closed: bool = False
) -> Callable[..., int]:
    """Make a function whose signature has the flags of one method, and of the loop unless it is `closed`."""
    from weightatlas.fit import FitConfig

    method, flat = words[0], tyro.conf.arg(name="")
    loop: Any = Annotated[None, tyro.conf.Suppress] if closed else Annotated[FitConfig, flat]

    def train(
        encoder: Annotated[settings, flat] = known or tyro.MISSING,  # type: ignore
        training: loop = None if closed else defaults or tyro.MISSING,  # type: ignore
        *,
        zoo: Path,
        out: Path,
        init_seed: int = 0,
        query_source: str = "train",
        sweep: tuple[str, ...] = (),
        executor: Literal["serial", "processes", "ray", "slurm"] = "serial",
        executor_set: tuple[str, ...] = (),
        processes: int = 1,
        json: bool = False,
        dry_run: bool = False,
    ) -> int:
        from weightatlas.fit.job import FitJob

        job = FitJob(method, encoder.model_dump(), training, zoo, out, init_seed, query_source)
        place = (sweep, executor, executor_set, processes)
        return run(job, words, *place, json=json, dry_run=dry_run)

    train.__doc__ = f"""Train the encoder '{method}' on the networks of a zoo; running again continues.

    Example:
        weightatlas fit {method} --zoo runs/digits-zoo --out runs/{method}{"" if closed else " --minutes 2"}

    Args:
        zoo: Folder of the zoo.
        out: Folder of the run.
        init_seed: Seed of the encoder's initialization.
        query_source: Images that networks are run on, if they are: train, uniform, or another task.
        sweep: Train every combination of these settings, each in a folder inside out: seed=[0,1,2]
            latent=[8,16]. The seed is that of the order and of the initialization.
        executor: Where the runs of a sweep are trained.
        executor_set: Options of the executor, as key=value (workers=4).
        processes: Train one encoder in so many processes on this machine, one per GPU or a few per processor;
            the result is that of one process. On several machines: accelerate launch -m weightatlas fit ...
        json: Print the result as JSON.
        dry_run: Only check all settings and shapes and say what would be done.
    """
    return train


def _supervised(
    words: Sequence[str], settings: "type[Config]", known: Any, defaults: Any, tuning: dict[str, Any]
) -> Callable[..., int]:
    """Make a function whose signature has the flags of one method that is trained on properties."""
    from weightatlas.fit import FitConfig
    from weightatlas.predict.finetune import Finetuning

    method, flat = words[0], tyro.conf.arg(name="")
    usual = Finetuning(**tuning)

    def train(
        encoder: Annotated[settings, flat] = known or tyro.MISSING,  # type: ignore
        training: Annotated[FitConfig, flat] = defaults or tyro.MISSING,
        *,
        zoo: Path,
        out: Path,
        property: tuple[str, ...] = ("test_acc",),
        kinds: tuple[str, ...] = (),
        head_hidden: tuple[int, ...] = usual.head.hidden,
        head_code: int | None = usual.head.code,
        invariance: float = usual.invariance,
        augment: bool = usual.augment,
        init_seed: int = 0,
        sweep: tuple[str, ...] = (),
        executor: Literal["serial", "processes", "ray", "slurm"] = "serial",
        executor_set: tuple[str, ...] = (),
        processes: int = 1,
        json: bool = False,
        dry_run: bool = False,
    ) -> int:
        from weightatlas.predict.job import PropertyJob

        head = usual.head.replace(hidden=head_hidden, code=head_code)
        how = usual.replace(head=head, invariance=invariance, augment=augment)
        own = (method, encoder.model_dump(), training, zoo, out, init_seed)
        job = PropertyJob(*own, properties=property, tuning=how, kinds=pairs_of(kinds))
        place = (sweep, executor, executor_set, processes)
        return run(job, words, *place, json=json, dry_run=dry_run)

    train.__doc__ = f"""Train the encoder '{method}' with a head on properties of networks; again continues.

    Example:
        weightatlas fit {method} --zoo runs/digits-zoo --out runs/{method} --property test_acc --minutes 2
        weightatlas predict runs/digits-zoo --run runs/{method}

    Args:
        zoo: Folder of the zoo; the state that orders its val networks best is kept.
        out: Folder of the run.
        property: Columns to predict, by one head: numbers, or text such as hp.optimizer as classes.
        kinds: How properties are learned, as name=real, name=log or name=class. Told from the columns by
            default: text and `label` are classes, a positive hyperparameter of wide range a logarithm.
        head_hidden: Widths of the head's hidden layers.
        head_code: Width of a linear map before them, or none.
        invariance: Weight of the regularizer that compares networks with permuted copies.
        augment: Permute the training networks anew in every step.
        init_seed: Seed of the initialization of encoder and head.
        sweep: Train every combination of these settings, each in a folder inside out: seed=[0,1,2]
            lr=[1e-3,3e-4]. The seed is that of the order and of the initialization.
        executor: Where the runs of a sweep are trained.
        executor_set: Options of the executor, as key=value (workers=4).
        processes: Train one encoder in so many processes on this machine, one per GPU or a few per processor;
            the result is that of one process. On several machines: accelerate launch -m weightatlas fit ...
        json: Print the result as JSON.
        dry_run: Only check all settings and shapes and say what would be done.
    """
    return train


def run(
    job: "FitJob",
    words: Sequence[str],
    sweep: tuple[str, ...],
    executor: str,
    executor_set: tuple[str, ...],
    processes: int,
    *,
    json: bool,
    dry_run: bool,
) -> int:
    """Train one run or a sweep, and print the last validation of each."""
    from weightatlas.executors import create_executor
    from weightatlas.fit import job as jobs
    from weightatlas.predict.job import PropertyJob, plan_properties, run_property_job

    several.check(processes, executor)
    on_properties = isinstance(job, PropertyJob)
    work: Any = run_property_job if on_properties else jobs.run_job
    if dry_run:
        many = {"runs": len(jobs.sweep_jobs(job, settings_of(sweep)))} if sweep else {}
        facts = plan_properties(job) if on_properties else jobs.plan(job)
        console.print_facts({**facts, **many}, title=f"fit {job.method}", as_json=json)
        return 0
    if processes > 1 and not several.is_one_of_several():
        return several.start(words, processes)
    runner = create_executor(executor, **settings_of(executor_set))
    if not sweep:
        facts = work(job)
        facts.pop("run")
        console.print_facts(facts, title=str(job.out), as_json=json)
        return 0
    lines = jobs.sweep(job, settings_of(sweep), runner, work)
    if json:
        console.print_json(lines)
        return 0
    for line in lines:
        console.print_facts(line, title=str(job.out / str(line["run"])))
    return 0
