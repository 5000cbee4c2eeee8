"""Token data sets of SANE (Schürholt et al., 2024): dataset_torch.train/sample_0.pt and its kin.

Facts of the format: github.com/HSG-AIML/SANE (datasets/dataset_preprocessing.py, dataset_tokens.py). A
sample holds `w` ([views, tokens, width], the first view is the canonical one; or [tokens, width]), `m`
(mask), `p` (token, layer, channel) and `props`; dataset_info_train.json names the properties,
dataset_normalization_train.json has mean and standard deviation per layer. Shapes of kernels are not in the
files: a network of the library must fit.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightatlas.errors import DataError, FileError, SpecError, WeightAtlasError
from weightatlas.weights.files.leaf import Leaf, read_leaf
from weightatlas.weights.files.records import open_records
from weightatlas.weights.files.zip_file import allowed
from weightatlas.weights.tokens import TokenConfig, TokenLayout, detokenize, layout
from weightatlas.weights.vector import unflatten
from weightatlas.zoo.importers.registry import (
    Architecture,
    Block,
    Importer,
    Report,
    bare_architecture,
    block_of,
    importers,
    known_architecture,
)
from weightatlas.zoo.importers.states import PARTS, read_json

_SAMPLE = re.compile(r"^sample_(\d+)\.pt$")
_METRICS = ("train_loss", "train_acc", "val_loss", "val_acc", "test_loss", "test_acc")
_KNOWN: tuple[tuple[str, dict[str, Any]], ...] = (
    ("cnn3", {}),
    ("cnn3", {"channels_in": 1}),
    ("cnn_small", {}),
    ("cnn_small", {"channels_in": 3}),
    ("cnn_small", {"widths": [6, 9, 6]}),
    ("cnn_small", {"channels_in": 3, "widths": [6, 9, 6]}),
    ("lenet5", {}),
)


@dataclass(frozen=True, eq=False)
class TokenSample:
    """One sample of a token data set, its canonical view.

    Args:
        tokens: Standardized weights, `(tokens, width)`.
        mask: True where a slot holds a weight.
        positions: (token, layer, channel) of each token.
        properties: Numbers, in the order of dataset_info's `properties`.
    """

    tokens: Float[Tensor, "tokens width"]
    mask: Bool[Tensor, "tokens width"]
    positions: Int[Tensor, "tokens 3"]
    properties: tuple[float, ...]


def read_sample(path: Path) -> TokenSample:
    """Read one sample file.

    Raises:
        FileError: It is damaged or has another form.
    """
    with open_records(path, ()) as content:
        leaves = {key: content.get(key) for key in "wmp"} if isinstance(content, dict) else {}
        if len(leaves) != 3 or not all(isinstance(leaf, Leaf) for leaf in leaves.values()):
            raise FileError(f"{path} is no sample of a token data set: w, m and p are not all there.")
        if sum(leaf.size for leaf in leaves.values()) * 4 > allowed(path.stat().st_size):  # type: ignore[union-attr]
            raise FileError(f"{path}: its tensors would take far more memory than the file has bytes.")
        w, m, p = (read_leaf(leaves[key], key)[0] for key in "wmp")  # type: ignore[arg-type]
        props = content.get("props")
        numbers = props.load().reshape(-1).tolist() if isinstance(props, Leaf) and props.size < 1000 else []
    w = w[0] if w.ndim == 3 else w
    if w.ndim != 2 or m.shape != w.shape or p.shape != (len(w), 3):
        shapes = ", ".join(str(tuple(one.shape)) for one in (w, m, p))
        raise FileError(f"{path} has tokens, mask and positions of shapes {shapes}, which do not fit.")
    return TokenSample(w.float(), m.bool(), p.long(), tuple(map(float, numbers)))


@importers.register("token_sets")
class TokenSets(Importer):
    """Samples that hold whole networks are put back together; windows are not, and the report says so.

    Args:
        network: Name of the network, with its activation among the options, so that the zoo can be run;
            without it shapes alone decide and networks come without code.
        options: Options of the network.
    """

    name = "token_sets"
    title = "token data sets of SANE (Schürholt et al., 2024)"
    loses = "permuted views; the activation (give network and options); which run a sample is from"

    def __init__(self, network: str | None = None, options: Mapping[str, Any] | None = None) -> None:
        self.network, self.options = network, dict(options or {})

    def recognizes(self, folder: Path) -> bool:
        return any(next(folder.glob(f"dataset_torch.{part}/sample_*.pt"), None) for part in PARTS)

    def read(self, folder: Path, report: Report) -> Iterator[Block]:
        for part in PARTS:
            files = _samples(folder / f"dataset_torch.{part}")
            about = _json(folder / f"dataset_info_{part}.json")
            undo = _json(folder / f"dataset_normalization_{part}.json")
            if about.get("standardize") == "l2_ind":
                report.notes.append(f"Layers of {part} were divided by their own norm, which was not kept.")
            run, last = 0, -1
            for index, path in files[: about.get("num_samples") or len(files)]:
                place = f"{path.parent.name}/{path.name}"
                try:
                    sample = read_sample(path)
                    known = _named(sample, about.get("properties"))
                    step = int(known.pop("training_iteration", known.pop("step", 0)))
                    run, last = run + (step <= last or not step), step
                    columns = _columns(part, run, index, step, place, known)
                    block = self._block(sample, undo, columns)
                except WeightAtlasError as error:
                    report.skip(place, error.what)
                    continue
                report.found += 1
                yield block

    def _block(self, sample: TokenSample, undo: Mapping[str, Any], columns: Mapping[str, Any]) -> Block:
        architecture = self._architecture(sample)
        plan = layout(architecture.spec, TokenConfig(width=sample.tokens.shape[1]))  # pyright: ignore[reportArgumentType]
        tokens = destandardize(sample, undo)
        values = detokenize(tokens[None], plan)[0]
        return block_of(unflatten(values, architecture.spec), architecture, columns)

    def _architecture(self, sample: TokenSample) -> Architecture:
        """Find a network with exactly these tokens.

        Raises:
            SpecError: The sample is a window of a network, or no network fits.
        """
        if self.network is not None:
            found = known_architecture(self.network, **self.options)
            if not _same(found, sample):
                raise SpecError(f"Its {len(sample.tokens)} tokens are not those of '{self.network}'.")
            return found
        for name, options in _KNOWN:
            found = known_architecture(name, **options)
            if _same(found, sample):
                state = {tensor.name: torch.zeros(tensor.shape) for tensor in found.spec.tensors}
                return bare_architecture(state)
        last = int(sample.positions[-1, 0]) + 1
        what = f"It holds {len(sample.tokens)} tokens, the last of which is token {last} of its network"
        raise SpecError(f"{what}: a window, or a network the library does not know.")


def destandardize(sample: TokenSample, undo: Mapping[str, Any]) -> Float[Tensor, "tokens width"]:
    """Take the standardization of each layer back.

    Args:
        sample: A sample.
        undo: Content of dataset_normalization_PART.json.

    Raises:
        DataError: It has fewer layers than the sample.
    """
    mode = undo.get("mode")
    layers = [value for key, value in undo.items() if key != "mode"]
    if mode not in ("standardize", "minmax") or not layers:
        return sample.tokens
    number = int(sample.positions[:, 1].max()) + 1
    if len(layers) < number:
        raise DataError(f"The normalization has {len(layers)} layers, the sample {number}.")
    names = ("std", "mean") if mode == "standardize" else ("max", "min")
    first, second = (torch.tensor([float(one[name]) for one in layers]) for name in names)
    scale = first if mode == "standardize" else (first - second) / 2
    shift = second if mode == "standardize" else (first + second) / 2
    layer = sample.positions[:, 1]
    return sample.tokens * scale[layer][:, None] + shift[layer][:, None]


def _same(architecture: Architecture, sample: TokenSample) -> bool:
    width = sample.tokens.shape[1]
    plan: TokenLayout = layout(architecture.spec, TokenConfig(width=width))  # pyright: ignore[reportArgumentType]
    same = plan.tokens == len(sample.tokens) and torch.equal(plan.positions, sample.positions)
    return same and torch.equal(plan.mask, sample.mask)


def _columns(
    part: str, run: int, index: int, step: int, place: str, known: Mapping[str, float]
) -> dict[str, Any]:
    own = {
        name if name in _METRICS else f"hp.{name}": value for name, value in known.items() if name != "ggap"
    }
    name = f"{part}-{run:05d}"
    about = {"id": f"{part}-sample-{index}", "network": name, "lineage": name, "source": place}
    return {**about, "split_official": part, "step": step, **own}


def _named(sample: TokenSample, names: Any) -> dict[str, float]:
    names = names if isinstance(names, list) else []
    return {str(name): value for name, value in zip(names, sample.properties, strict=False)}


def _samples(folder: Path) -> list[tuple[int, Path]]:
    """List samples by number."""
    if not folder.is_dir():
        return []
    named = ((_SAMPLE.match(path.name), path) for path in folder.iterdir())
    return sorted((int(match[1]), path) for match, path in named if match)


def _json(path: Path) -> dict[str, Any]:
    content = read_json(path) if path.is_file() else {}
    return content if isinstance(content, dict) else {}
