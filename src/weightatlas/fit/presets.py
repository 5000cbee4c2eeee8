"""Published and proven settings of encoders and their training, by name."""

from importlib import resources
from typing import Any

from weightatlas.config import Config, read_yaml
from weightatlas.errors import ConfigError
from weightatlas.fit.config import FitConfig


class Preset(Config):
    """An encoder and how it is trained.

    Args:
        encoder: Registered name of the encoder.
        settings: Its settings.
        fit: Settings of the training.
        space: Terms of the loss of a space of networks, for `fit.space.SpaceFit`.
        predict: Settings of a training on properties, for `predict.finetune.Finetuning`.
    """

    encoder: str
    settings: dict[str, Any]
    fit: FitConfig
    space: dict[str, Any] = {}
    predict: dict[str, Any] = {}


def preset(name: str) -> Preset:
    """Read a preset.

    Example:
        >>> preset("sane_small").settings["latent"]
        28

    Args:
        name: One of `presets()`.

    Raises:
        ConfigError: There is no such preset.
    """
    if name not in presets():
        raise ConfigError(f"There is no encoder preset '{name}'.", todo=f"Known: {', '.join(presets())}.")
    with resources.as_file(_folder() / f"{name}.yaml") as path:
        return Preset.build(read_yaml(path), where=f"In preset '{name}'.")


def presets() -> list[str]:
    """List the names of the presets."""
    return sorted(
        item.name.removesuffix(".yaml") for item in _folder().iterdir() if item.name.endswith(".yaml")
    )


def _folder() -> Any:
    return resources.files("weightatlas") / "presets" / "encoders"
