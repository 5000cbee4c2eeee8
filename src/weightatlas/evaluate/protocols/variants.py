"""Ways to use an encoder in a bench: its name, a preset, and settings that differ."""

from typing import Any

from weightatlas.config import Config
from weightatlas.encoders.base import Encoder
from weightatlas.encoders.io import create_for
from weightatlas.errors import DataError, SpecError
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.fit.presets import preset


class Variant(Config):
    """One way to use an encoder.

    Args:
        encoder: Its name.
        preset: Settings from `presets/encoders`.
        settings: Settings that differ.
    """

    encoder: str
    preset: str | None = None
    settings: dict[str, Any] = {}

    def resolved(self) -> dict[str, Any]:
        """Settings of the encoder: those of the preset, and what differs."""
        base = {} if self.preset is None else preset(self.preset).settings
        return {**base, **self.settings}


def made(there: Stage, variant: Variant, seed: int) -> Encoder:
    """Make an encoder for the networks of a zoo, and lend it their code if it runs them.

    Args:
        there: The zoo.
        variant: Which encoder.
        seed: Of its initialization.

    Raises:
        SpecError: It does not accept all networks of the zoo.
        NoCode: It runs networks whose code is not known.
    """
    specs = there.zoo.specs
    try:
        encoder = create_for(variant.encoder, specs, seed, **variant.resolved())
        if encoder.executes:
            for spec in specs:
                encoder.bind(there.zoo.network(spec), there.pool.inputs)
    except DataError as error:  # sizes of the networks that do not fit the settings
        raise SpecError(error.what, where=error.where, todo=error.todo) from None
    return encoder
