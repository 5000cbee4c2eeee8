"""What verbs are given: zoos, runs, and choices of networks."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from weightatlas.errors import RunError

if TYPE_CHECKING:
    import torch

    from weightatlas.encoders import Autoencoder, Encoder
    from weightatlas.zoo import Zoo

Part = Literal["train", "val", "test", "all"]


def open_part(path: Path, part: Part) -> "Zoo":
    """Open a zoo and keep one split of it, or all networks."""
    from weightatlas.zoo import Zoo

    zoo = Zoo.open(path)
    return zoo if part == "all" else zoo.split(part)


def open_encoder(run: Path, zoo: "Zoo | None" = None) -> "Encoder":
    """Read the encoder of a run, or of a folder written by `save_pretrained`.

    Args:
        run: The folder.
        zoo: Networks it will be used on; lends their code to encoders that execute networks.
    """
    from weightatlas.encoders.io import from_pretrained

    nested = run / "encoder"
    encoder = from_pretrained(nested if (nested / "config.json").exists() else run)
    if encoder.executes and zoo is not None:
        for spec in zoo.specs:
            encoder.bind(zoo.network(spec))
    return encoder


def open_autoencoder(run: Path, zoo: "Zoo | None" = None) -> "Autoencoder":
    """Read an encoder that can also decode to weights.

    Raises:
        RunError: It cannot.
    """
    from weightatlas.encoders import Autoencoder

    encoder = open_encoder(run, zoo)
    if not isinstance(encoder, Autoencoder) or not encoder.decodes_weights:
        raise RunError(
            f"The encoder '{encoder.name}' in {run} does not decode to weights.",
            todo="Fit an autoencoder, for example: weightatlas fit sane --zoo ZOO --out RUN",
        )
    return encoder


def write_networks(folder: Path, values: "torch.Tensor", zoo: "Zoo", names: list[str]) -> list[Path]:
    """Write networks as plain state dicts under the original names of the zoo's networks.

    Args:
        folder: Where to write.
        values: Networks as rows.
        zoo: Networks of the same layout; lends names and dtypes.
        names: File name of each network, without suffix.
    """
    from safetensors.torch import save

    from weightatlas.atomic import write_bytes
    from weightatlas.weights.vector import to_state_dict

    signature = zoo.signature(0)
    signature = signature and signature.with_counters(())  # these networks have not seen any batch
    paths = [folder / f"{name}.safetensors" for name in names]
    for path, vector in zip(paths, values.cpu(), strict=True):
        state = to_state_dict(vector, zoo.spec, signature)
        write_bytes(path, save({name: value.clone() for name, value in state.items()}))
    return paths
