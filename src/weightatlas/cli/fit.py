"""weightatlas fit METHOD: the flags are the settings of the method and of the training loop."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from weightatlas.cli import console

if TYPE_CHECKING:
    from weightatlas.config import Config


def fit(method: Annotated[str, tyro.conf.Positional], zoo: Path, out: Path) -> None:
    """Train an encoder on the training networks of a zoo; running again continues.

    `weightatlas fit METHOD --help` lists all settings of a method; `--preset NAME` starts from published or
    proven ones, `--config FILE` from the training settings of another run.

    Example:
        weightatlas fit sane --zoo runs/digits-zoo --out runs/sane --minutes 2
        weightatlas fit sane --preset sane_small --zoo runs/digits-zoo --out runs/sane

    Args:
        method: The encoder: sane, pca, ...
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

    factory: Any = encoders.get(words[0])
    (encoder, training), rest = _defaults(words[0], list(words[1:]), factory.Settings, FitConfig)
    return _function(words[0], factory.Settings, encoder, training), f"fit {words[0]}", rest


def _defaults(
    method: str, words: list[str], settings: "type[Config]", training: "type[Config]"
) -> tuple[tuple[Any, Any], list[str]]:
    """Take `--preset NAME` and `--config FILE` out of the words: what they say become the flags' defaults."""
    from weightatlas.errors import ConfigError
    from weightatlas.fit.presets import preset, presets

    found = []
    for flag, what, todo in (
        ("--preset", "a name", f"Known: {', '.join(presets())}."),
        ("--config", "a YAML file", "For example RUN/config.yaml of another run."),
    ):
        place = words.index(flag) if flag in words else None
        if place is not None and place + 1 == len(words):
            raise ConfigError(f"{flag} needs {what}.", todo=todo)
        found.append(None if place is None else words[place + 1])
        words = words if place is None else words[:place] + words[place + 2 :]
    name, file = found
    encoder, length = None, None
    if name is not None:
        chosen = preset(name)
        if chosen.encoder != method:
            todo = f"Write: weightatlas fit {chosen.encoder} --preset {name}."
            raise ConfigError(
                f"The preset '{name}' is for the encoder '{chosen.encoder}', not '{method}'.", todo=todo
            )
        encoder, length = settings.build(chosen.settings), chosen.fit
    return (encoder, training.from_yaml(file) if file is not None else length), words


def _function(method: str, settings: "type[Config]", known: Any, defaults: Any) -> Callable[..., None]:
    """Make a function whose signature has the flags of one method."""
    from weightatlas.fit import FitConfig

    flat = tyro.conf.arg(name="")

    def train(
        encoder: Annotated[settings, flat] = known or tyro.MISSING,  # type: ignore
        training: Annotated[FitConfig, flat] = defaults or tyro.MISSING,
        *,
        zoo: Path,
        out: Path,
        init_seed: int = 0,
        query_source: str = "train",
        json: bool = False,
        dry_run: bool = False,
    ) -> None:
        run(method, encoder, training, zoo, out, init_seed, query_source, json=json, dry_run=dry_run)

    train.__doc__ = f"""Train the encoder '{method}' on the networks of a zoo; running again continues.

    Example:
        weightatlas fit {method} --zoo runs/digits-zoo --out runs/{method} --minutes 2

    Args:
        zoo: Folder of the zoo.
        out: Folder of the run.
        init_seed: Seed of the encoder's initialization.
        query_source: Images for behavioral terms: train, uniform, or another task.
        json: Print the result as JSON.
        dry_run: Only check all settings and shapes and say what would be done.
    """
    return train


def run(
    method: str,
    settings: "Config",
    training: Any,
    zoo: Path,
    out: Path,
    init_seed: int,
    query_source: str,
    *,
    json: bool,
    dry_run: bool,
) -> None:
    """Open the zoo, make the encoder, train it, and print the last validation."""
    from weightatlas.encoders.io import create_encoder
    from weightatlas.fit import fit as train
    from weightatlas.objectives.composite import build_loss
    from weightatlas.tasks import QueryPool
    from weightatlas.zoo import Zoo

    whole = Zoo.open(zoo)
    encoder = create_encoder(method, whole.spec, init_seed, **settings.model_dump())
    part = whole.split("train")
    if encoder.executes:
        encoder.bind(whole.network(), QueryPool(whole.task(), query_source).inputs)
    behavioral = build_loss(training.loss, 1).needs_queries
    if dry_run:
        facts = {
            "method": method,
            "encoder parameters": sum(value.numel() for value in encoder.parameters()),
            "training rows": len(part),
            "parameters of a network": whole.spec.params,
            "executes networks": behavioral,
        }
        console.print_facts(facts, title=f"fit {method}", as_json=json)
        return
    result = train(
        encoder,
        part,
        training,
        out,
        queries=QueryPool(whole.task(), query_source) if behavioral else None,
        population=whole.population() if behavioral else None,
        validation=whole.split("val"),
    )
    last = {name: value for name, value in (result.history or [{}])[-1].items() if name != "step"}
    facts = {"steps": result.steps, "passes": result.passes, "seconds": result.seconds, **last}
    console.print_facts({**facts, "finished": result.finished}, title=str(out), as_json=json)
