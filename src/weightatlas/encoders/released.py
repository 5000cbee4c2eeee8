"""Released autoencoders of SANE (2024, 2025) and of hyper-representations (2022) -> encoders of this library.

Facts of the formats: github.com/HSG-AIML/SANE (models/def_AE.py, def_AE_module.py:
`checkpoint_000050/state.pt` with `model`, `optimizer`, `scheduler`, and params.json one level up) and
github.com/HSG-AIML/NeurIPS_2022-Generative_Hyper_Representations (checkpoint_ae.pt, config_ae.json). Files
are read as data; nothing in them is executed.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightatlas.encoders.hyper_release import HyperRelease, HyperReleaseConfig
from weightatlas.encoders.sane import Sane, SaneConfig
from weightatlas.errors import ConfigError, FileError, SpecError, gather
from weightatlas.weights.files.leaf import Leaf, read_leaf
from weightatlas.weights.files.records import open_records
from weightatlas.weights.spec import NetworkSpec

_CLASSES = ("ray.", "pathlib.", "torch.device", "numpy.")
_SANE = {
    "tokenizer": "encoder.enter",
    "encoder_comp": "encoder.leave",
    "decoder_comp": "decoder.enter",
    "detokenizer": "decoder.leave",
    "pe.pe1": "positions.token",
    "pe.pe2": "positions.layer",
    "pe.pe3": "positions.channel",
}
_SANE_BLOCK = {
    "ln_1": "norm_attention",
    "ln_2": "norm_mlp",
    "attn.c_attn": "qkv",
    "attn.c_proj": "project",
    "mlp.c_fc": "widen",
    "mlp.c_proj": "narrow",
}
_HYPER = {
    "encoder.position_embeddings.weight": "positions",
    "decoder.position_embeddings.weight": "places",
    "encoder.vec2neck.0": "compress",
    "decoder.nec2vec": "expand",
    "encoder.comp_token": "first",
}
_HYPER_BLOCK = {
    "attn.q_linear": "query",
    "attn.k_linear": "key",
    "attn.v_linear": "value",
    "attn.out": "out",
    "ff.linear_1": "up",
    "ff.linear_2": "down",
    "norm_1": "norm_1",
    "norm_2": "norm_2",
}


def read_sane_release(path: str | Path, spec: NetworkSpec, normalization: str | Path | None = None) -> Sane:
    """Make the encoder `sane` of a released checkpoint: codes and rebuilt tokens are those of the release.

    Args:
        path: state.pt, the checkpoint's folder, or the run's folder (the last checkpoint is taken).
        spec: Layout of the networks it was trained on.
        normalization: dataset_normalization_train.json of its data set; without it weights are taken as
            they are, which is right only for data sets that were not standardized.

    Raises:
        FileError: A file is missing, damaged, or holds more than data.
        ConfigError: The release is of another kind; the message says what differs.
        SpecError: Networks of this layout have other tokens.
    """
    file = _state_file(Path(path))
    settings = _settings([file.parent / "params.json", file.parent.parent / "params.json"])
    state = _plain_names(_tensors(file, "model"))
    _refuse_other_sane(state, settings, file)
    width, dim = state["tokenizer.weight"].shape[1], state["tokenizer.weight"].shape[0]
    count = 1 + max(int(n) for n in re.findall(r"transformer_encoder\.transformer\.(\d+)\.", " ".join(state)))
    first, second, third = (state[f"pe.pe{axis}.weight"].shape[0] for axis in (1, 2, 3))
    window = settings.get("training::windowsize")
    config = SaneConfig(
        dim=dim,
        layers=count,
        heads=int(settings["ae:nhead"]),
        skip="none",
        latent=state["encoder_comp.weight"].shape[0],
        token_width=width,
        max_positions=(first, second, third),
        window=int(window) if window else None,
    )
    encoder = Sane(config, spec)
    if encoder.config.window and encoder.config.window >= encoder.plan.tokens:
        encoder = Sane(config.replace(window=None), spec)
    if normalization is not None:
        _normalize(encoder, _settings([Path(normalization)]))
    _fill(encoder, {_sane_name(name): tensor for name, tensor in state.items()}, file)
    return encoder.eval()


def read_hyper_release(folder: str | Path, spec: NetworkSpec) -> HyperRelease:
    """Make the encoder `hyper_release` of a released folder: checkpoint_ae.pt and config_ae.json.

    Args:
        folder: For example hyper_representations/mnist.
        spec: Layout of the networks it was trained on.

    Raises:
        FileError: A file is missing, damaged, or holds more than data.
        ConfigError: The release is of another kind; the message says what differs.
        SpecError: Networks of this layout have other layers.
    """
    folder = Path(folder)
    settings = _settings([folder / "config_ae.json"])
    file = folder / "checkpoint_ae.pt"
    state = _plain_names(_tensors(file, "state_dict"))
    _refuse_other_hyper(state, settings, file)
    count = 1 + max(int(n) for n in re.findall(r"encoder\.layers\.(\d+)\.", " ".join(state)))
    dim = state["encoder.position_embeddings.weight"].shape[1]
    config = HyperReleaseConfig(
        dim=dim,
        layers=count,
        heads=int(settings["model::N_attention_heads"]),
        hidden=state["encoder.layers.0.ff.linear_1.weight"].shape[0],
        latent=state["encoder.vec2neck.0.weight"].shape[0],
        normalize="encoder.layers.0.norm_1.alpha" in state,
        compression="token"
        if "encoder.comp_token" in state
        else settings.get("model::compression", "linear"),
        decompression=settings.get("model::decompression", "linear"),
        bounded=settings.get("model::bottleneck") == "linear_bounded",
        dropout=float(settings.get("model::dropout") or 0.0),
    )
    encoder = HyperRelease(config, spec)
    _fill(encoder, {_hyper_name(name): tensor for name, tensor in state.items()}, file)
    return encoder.eval()


def _sane_name(name: str) -> str:
    """Say what a released tensor is called here; the head of the contrastive loss has no place."""
    block = re.match(r"transformer_(encoder|decoder)\.transformer\.(\d+)\.(.+)\.(\w+)$", name)
    if block:
        return f"{block[1]}.blocks.{block[2]}.{_SANE_BLOCK.get(block[3], block[3])}.{block[4]}"
    stem, _, leaf = name.rpartition(".")
    return f"{_SANE[stem]}.{leaf}" if stem in _SANE else "" if stem.startswith("projection_head") else name


def _hyper_name(name: str) -> str:
    block = re.match(r"(encoder|decoder)\.layers\.(\d+)\.(.+)\.(\w+)$", name)
    if block:
        return f"{block[1]}.{block[2]}.{_HYPER_BLOCK.get(block[3], block[3])}.{block[4]}"
    embedding = re.match(r"(encoder|decoder)\.token_(?:de|em)beddings\.layer_lst\.(\d+)\.(\w+)$", name)
    if embedding:
        return f"{'into' if embedding[1] == 'encoder' else 'back'}.{embedding[2]}.{embedding[3]}"
    if name in _HYPER:
        return _HYPER[name]
    stem, _, leaf = name.rpartition(".")
    return f"{_HYPER[stem]}.{leaf}" if stem in _HYPER else name


def _refuse_other_sane(state: Mapping[str, Tensor], settings: Mapping[str, Any], file: Path) -> None:
    """Say what differs where a release has another architecture."""
    problems = []
    if any("self_attn" in name for name in state):
        problems.append(
            "its transformer is PyTorch's stock layer (norms after the blocks, biases), run with batch and "
            "tokens exchanged, so that it attends across networks; the encoder 'sane' has GPT-2 blocks"
        )
    missing = [name for name in ("tokenizer.weight", "encoder_comp.weight") if name not in state]
    problems += [f"there is no tensor '{name}'" for name in missing]
    if "pe.pe3.weight" not in state:
        problems.append("positions have two parts instead of token, layer and channel")
    if "ae:nhead" not in settings:
        problems.append("params.json does not say the number of heads (ae:nhead)")
    gather(ConfigError, problems, where=f"In {file}.", todo="It cannot be read as the encoder 'sane'.")


def _refuse_other_hyper(state: Mapping[str, Tensor], settings: Mapping[str, Any], file: Path) -> None:
    problems = []
    if any(name.startswith("encoder.transformer.") for name in state):
        problems.append("its transformer is PyTorch's stock layer; 'hyper_release' has the release's blocks")
    if not any(".token_embeddings.layer_lst." in name for name in state):
        problems.append("tokens are not neurons by layer (index_dict), but single weights or fixed groups")
    missing = [name for name in ("encoder.vec2neck.0.weight", "decoder.nec2vec.weight") if name not in state]
    problems += [f"there is no linear bottleneck '{name}'" for name in missing]
    if "decoder.decoder_bias" in state:
        problems.append("the decoder adds a learned bias to codes")
    if "model::N_attention_heads" not in settings:
        problems.append("config_ae.json does not say the number of heads (model::N_attention_heads)")
    gather(
        ConfigError, problems, where=f"In {file}.", todo="It cannot be read as the encoder 'hyper_release'."
    )


def _fill(encoder: torch.nn.Module, state: dict[str, Tensor], file: Path) -> None:
    """Give an encoder the released tensors; each must be there and fit."""
    own = dict(encoder.named_parameters())
    state = {name: tensor for name, tensor in state.items() if name}
    problems = [f"'{name}' has no place in the encoder" for name in state if name not in own]
    for name, parameter in own.items():
        if name not in state:
            problems.append(f"'{name}' {tuple(parameter.shape)} is missing")
        elif state[name].shape != parameter.shape:
            shapes = f"{tuple(state[name].shape)}, the layout of the networks needs {tuple(parameter.shape)}"
            problems.append(f"'{name}' has shape {shapes}")
    gather(SpecError, problems[:10], where=f"In {file}.", todo="Pass the layout the release was trained on.")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(state[name])


def _normalize(encoder: Sane, content: Mapping[str, Any]) -> None:
    """Take over the standardization of each layer.

    Raises:
        ConfigError: It has another number of layers than the networks.
    """
    mode, layers = content.get("mode"), [value for key, value in content.items() if key != "mode"]
    place = encoder.plan.positions[encoder.plan.inverse // encoder.plan.width, 1]
    if mode not in ("standardize", "minmax") or len(layers) != int(place.max()) + 1:
        what = f"The normalization has mode '{mode}' and {len(layers)} layers"
        raise ConfigError(f"{what}, the networks have {int(place.max()) + 1}.")
    keys = ("mean", "std") if mode == "standardize" else ("min", "max")
    first, second = (torch.tensor([float(layer[key]) for layer in layers]) for key in keys)
    mean, std = (first, second) if mode == "standardize" else ((first + second) / 2, (second - first) / 2)
    encoder.mean.copy_(mean[place])
    encoder.std.copy_(std[place])


def _tensors(file: Path, key: str) -> dict[str, Tensor]:
    """Read the state dict in a file: under a key, or the file itself."""
    with open_records(file, _CLASSES) as content:
        inside = content.get(key, content) if isinstance(content, dict) else {}
        leaves = {name: leaf for name, leaf in inside.items() if isinstance(leaf, Leaf)}
        if not leaves:
            raise FileError(f"{file} holds no state dict.", todo="Pass a released checkpoint.")
        return {name: read_leaf(leaf, name)[0].float() for name, leaf in leaves.items()}


def _plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take off what torch.compile and data parallelism put before names."""
    return {re.sub(r"^(_orig_mod\.|module\.)+", "", name): tensor for name, tensor in state.items()}


def _state_file(path: Path) -> Path:
    """Find state.pt in a checkpoint's or a run's folder."""
    if path.is_file():
        return path
    found = (
        [path / "state.pt"] if (path / "state.pt").is_file() else sorted(path.glob("checkpoint_*/state.pt"))
    )
    if not found:
        raise FileError(f"There is no state.pt in {path}.", todo="Pass state.pt, or the folder of its run.")
    return found[-1]


def _settings(paths: list[Path]) -> dict[str, Any]:
    """Read the first JSON file that is there."""
    for path in paths:
        if path.is_file():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise FileError(f"{path} cannot be read as JSON.", where=str(error)) from None
            return content if isinstance(content, dict) else {}
    raise FileError(f"There is no {' or '.join(map(str, paths))}.", todo="Copy it from the release.")
