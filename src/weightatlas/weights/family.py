"""What kind of network a spec describes: a short name for people and a short hash for machines."""

import re
from collections import Counter
from itertools import pairwise
from typing import NamedTuple

from weightatlas.weights.infer import Inferred

_ARRAYS = ("npy", "npz", "json", "pickle", "hdf5")
_UP, _DOWN = ("up", "dec", "decoder"), ("down", "enc", "encoder")


class Family(NamedTuple):
    """Kind, depth and fingerprint of a network.

    Args:
        name: For people: "CNN 3 conv + 1 linear", "ResNet-like 9 conv + 1 linear", "transformer 12 x 768".
        depth: Layers with weights (attention counts its projections).
        fingerprint: First 8 digits of the layout id: shapes and roles in canonical order.
    """

    name: str
    depth: int
    fingerprint: str


def family_of(found: Inferred) -> Family:
    """Name the family of a network from what was inferred about it.

    Example:
        >>> from weightatlas.weights.infer import infer
        >>> family_of(infer({"0.weight": (32, 64), "0.bias": (32,), "2.weight": (10, 32)})).name
        'MLP 64-32-10'
    """
    depth = sum(layers for _, _, _, layers in found.units)
    return Family(_name(found), depth, found.spec.layout_id[:8])


def only_data(found: Inferred, format: str) -> str:
    """Say why arrays are no network, where a format holds any arrays and no name speaks of weights.

    Example:
        >>> from weightatlas.weights.infer import infer
        >>> only_data(infer({"results": (50, 10)}), "npz")
        "holds arrays, but none is named like the weights of a network: 'results' (50 × 10)"
        >>> only_data(infer({"W1": (50, 10)}), "npz")
        ''

    Args:
        found: What was inferred.
        format: Kind of file.

    Returns:
        The reason, or nothing.
    """
    tensors = found.spec.tensors
    if format not in _ARRAYS or any(tensor.role not in ("other", "position") for tensor in tensors):
        return ""
    listed = ", ".join(f"'{t.name}' ({' × '.join(map(str, t.shape)) or 'scalar'})" for t in tensors[:3])
    more = f" and {len(tensors) - 3} more" if len(tensors) > 3 else ""
    return f"holds arrays, but none is named like the weights of a network: {listed}{more}"


def _name(found: Inferred) -> str:
    kinds = Counter(kind for kind, _, _, _ in found.units)
    words = Counter(guess.value.split()[0] for guess in found.guesses if guess.kind == "layer")
    convs = words["conv"] + words["depthwise"] + words["transposed"]
    linears = words["linear"]
    if kinds["lora"] and kinds["lora"] * 2 >= sum(kinds.values()) - kinds["loose"]:
        ranks = {g.value.split()[-1] for g in found.guesses if g.value.startswith("LoRA of rank")}
        return f"LoRA rank {'/'.join(sorted(ranks, key=int))} on {kinds['lora']} layers"
    layers = " + ".join(f"{n} {what}" for n, what in ((convs, "conv"), (linears, "linear")) if n)
    names = {part for tensor in found.spec.tensors for part in tensor.name.lower().split(".")}
    both_ways = _starts(names, _UP) and _starts(names, _DOWN)
    if kinds["attention"] and convs > kinds["attention"] and both_ways:
        return f"U-Net-like {convs} conv + {kinds['attention']} attention"
    if kinds["attention"]:
        width = Counter(w for kind, w, _, _ in found.units if kind == "attention").most_common(1)[0][0]
        blocks = kinds["feed_forward"] if kinds["feed_forward"] > 1 else kinds["attention"]
        return f"transformer {blocks} x {width}"
    if words["recurrent"]:
        stacked = sum(bool(re.fullmatch(r"weight_ih_l\d+", name)) for name in names)
        return f"recurrent {max(stacked, words['recurrent'])} x {_state(found)}"
    if convs and (kinds["residual"] or names & {"downsample", "shortcut", "skip", "convshortcut"}):
        return f"ResNet-like {layers}"
    if convs and both_ways:
        return f"U-Net-like {layers}" if words["transposed"] or not linears else f"autoencoder {layers}"
    if convs:
        return f"CNN {layers}"
    return _dense(found, linears, words["embedding"])


def _dense(found: Inferred, linears: int, embeddings: int) -> str:
    """Name a network of linear layers by its widths if they fit one after the other."""
    shapes = [t.shape for t in found.spec.tensors if t.role == "weight" and len(t.shape) == 2]
    fits = all(a[0] == b[1] for a, b in pairwise(shapes))
    if linears and fits and len(shapes) <= 6 and not embeddings:
        return "MLP " + "-".join(str(w) for w in (shapes[0][1], *(shape[0] for shape in shapes)))
    if linears:
        return f"MLP {linears} linear" + (f" + {embeddings} embedding" if embeddings else "")
    count = len(found.spec.tensors)
    return f"embedding {embeddings} tables" if embeddings else f"unknown, {count} tensors"


def _state(found: Inferred) -> int:
    """Width of the state of the widest recurrent layer."""
    fed_back = [t.shape[-1] for t in found.spec.tensors if re.search(r"weight_hh|recurrent_weight", t.name)]
    return max(fed_back or [out for kind, _, out, _ in found.units if kind == "recurrent"], default=0)


def _starts(names: set[str], words: tuple[str, ...]) -> bool:
    return any(name.rstrip("0123456789_") in words or name.startswith(words) for name in names)
