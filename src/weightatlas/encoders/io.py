"""Encoders on disk: config.json, model.safetensors and a card."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from weightatlas.atomic import replacing_alone, write_text
from weightatlas.encoders import activation as _activation  # noqa: F401 (registers "activation")
from weightatlas.encoders import activation_sparse as _activation_sparse  # noqa: F401 (registers its name)
from weightatlas.encoders import deep_sets as _deep_sets  # noqa: F401 (registers "deep_sets")
from weightatlas.encoders import dng as _dng  # noqa: F401 (registers "dng")
from weightatlas.encoders import dws as _dws  # noqa: F401 (registers "dws")
from weightatlas.encoders import hyper_release as _hyper_release  # noqa: F401 (registers its name)
from weightatlas.encoders import hyper_representation as _hyper  # noqa: F401 (registers its name)
from weightatlas.encoders import implicit as _implicit  # noqa: F401 (registers "implicit")
from weightatlas.encoders import linear as _linear  # noqa: F401 (registers "pca")
from weightatlas.encoders import mlp as _mlp  # noqa: F401 (registers "mlp")
from weightatlas.encoders import netspace as _netspace  # noqa: F401 (registers "netspace")
from weightatlas.encoders import netspace_exact as _exact  # noqa: F401 (registers "netspace_exact")
from weightatlas.encoders import neural_graph as _neural_graph  # noqa: F401 (registers "neural_graph")
from weightatlas.encoders import nfn_hnp as _nfn_hnp  # noqa: F401 (registers "nfn_hnp")
from weightatlas.encoders import nfn_np as _nfn_np  # noqa: F401 (registers "nfn_np")
from weightatlas.encoders import nft as _nft  # noqa: F401 (registers "nft")
from weightatlas.encoders import probes as _probes  # noqa: F401 (registers "probes" and "probed")
from weightatlas.encoders import sane as _sane  # noqa: F401 (registers "sane")
from weightatlas.encoders import signal_space as _signal_space  # noqa: F401 (registers "signal_space")
from weightatlas.encoders import sne as _sne  # noqa: F401 (registers "sne")
from weightatlas.encoders import stat_nn as _stat_nn  # noqa: F401 (registers "stat_nn")
from weightatlas.encoders.base import Encoder, encoders
from weightatlas.errors import ConfigError, FileError, SpecError
from weightatlas.weights.spec import NetworkSpec

FORMAT = 1


def create_encoder(name: str, spec: NetworkSpec | None = None, seed: int = 0, **settings: Any) -> Encoder:
    """Make an encoder by name; the global random stream is left as it was.

    Args:
        name: Registered name ("sane", "pca", ...).
        spec: Layout of the networks, for encoders that work on one layout.
        seed: Seed of its initialization.
        settings: Settings of the encoder; unknown ones are refused.

    Raises:
        ConfigError: The name or a setting is unknown.
    """
    factory: Any = encoders.get(name)
    config = factory.Settings.build(settings, where=f"Settings of the encoder '{name}'.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return factory(config, spec)


def create_for(name: str, specs: Sequence[NetworkSpec], seed: int = 0, **settings: Any) -> Encoder:
    """Make an encoder for networks of one or several specs.

    Args:
        name: Registered name ("sne", "dng", ...).
        specs: Those of the networks, such as `zoo.specs`; the first one is what the encoder is made for.
        seed: Seed of its initialization.
        settings: Settings of the encoder.

    Raises:
        ConfigError: The name or a setting is unknown.
        SpecError: The encoder does not accept all of them.
    """
    factory: Any = encoders.get(name)
    layouts = len({spec.layout_id for spec in specs})
    if factory.accepts == "one" and layouts > 1:
        raise SpecError(
            f"The encoder '{name}' works on one layout, these networks have {layouts}.",
            todo="Pick one that accepts any layout, for example sne, or keep networks of one layout.",
        )
    encoder = create_encoder(name, specs[0], seed, **settings)
    for spec in specs:
        encoder.require(spec)
    return encoder


def save_pretrained(encoder: Encoder, folder: str | Path) -> Path:
    """Write an encoder with everything it needs: settings, layout, weights, normalizations, card.

    `config.json` is written last, so a folder that has one is complete.

    Args:
        encoder: Any registered encoder.
        folder: Where to write; made if missing.

    Raises:
        FileError: The folder cannot be written, or the disk is full.
    """
    folder = Path(folder)
    tensors = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    with replacing_alone(folder / "model.safetensors") as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    write_text(folder / "README.md", _card(encoder))
    spec = None if encoder.spec is None else encoder.spec.model_dump(mode="json")
    config = encoder.config.model_dump(mode="json")
    saved = {"format": FORMAT, "encoder": encoder.name, "config": config, "spec": spec}
    write_text(folder / "config.json", json.dumps(saved, indent=1) + "\n")
    return folder


def from_pretrained(folder: str | Path, device: str | torch.device = "cpu") -> Encoder:
    """Read an encoder back, bit for bit, in evaluation mode.

    Args:
        folder: A folder written by `save_pretrained`.
        device: Where its tensors go.

    Raises:
        FileError: A file is missing or damaged.
        ConfigError: The encoder or a setting is unknown.
    """
    folder = Path(folder)
    saved = _read_config(folder)
    spec = (
        None if saved["spec"] is None else NetworkSpec.build(saved["spec"], where=f"In {folder}/config.json.")
    )
    encoder = create_encoder(saved["encoder"], spec, **saved["config"])
    try:
        tensors = load_file(folder / "model.safetensors")
        encoder.load_state_dict(tensors)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise FileError(
            f"{folder}/model.safetensors is missing, damaged or of another encoder.",
            where=str(error).splitlines()[0],
            todo="Copy the folder again, or fit the encoder again.",
        ) from error
    return encoder.to(device).eval()


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        missing = {"format", "encoder", "config", "spec"} - set(saved)
    except FileNotFoundError:
        todo = "Name a folder written by save_pretrained, such as RUN/encoder."
        raise FileError(f"{folder} does not hold an encoder: there is no config.json.", todo=todo) from None
    except (OSError, ValueError, TypeError) as error:
        raise FileError(f"{path} cannot be read as JSON.", where=str(error)) from error
    if missing:
        raise FileError(f"{path} lacks {', '.join(sorted(missing))}.")
    if saved["format"] > FORMAT:
        raise ConfigError(f"{path} has format {saved['format']}, this version reads up to {FORMAT}.")
    return saved


def _card(encoder: Encoder) -> str:
    """Describe an encoder for readers of its folder."""
    from weightatlas.encoders.base import Autoencoder

    numbers = sum(parameter.numel() for parameter in encoder.parameters())
    lines = [
        f"# {encoder.name} encoder of neural networks\n",
        f"A weightatlas encoder with {numbers:,} parameters.\n",
        "```python",
        "from weightatlas.encoders.io import from_pretrained",
        "encoder = from_pretrained('.')",
        "embeddings = encoder.embed(batch)",
        "```\n",
    ]
    if encoder.spec is not None:
        lines.append(f"Networks: {encoder.spec.params:,} parameters, layout `{encoder.spec.layout_id}`.\n")
    if encoder.spec is not None and isinstance(encoder, Autoencoder):
        codes, width = encoder.code_shape(encoder.spec)
        ratio = encoder.spec.params / (codes * width)
        lines.append(f"Code: {codes} x {width} numbers a network, {ratio:.2f} parameters per number.\n")
    settings = [f"- {key}: {value}" for key, value in encoder.config.model_dump(mode="json").items()]
    return "\n".join([*lines, "Settings:\n", *settings, ""])
