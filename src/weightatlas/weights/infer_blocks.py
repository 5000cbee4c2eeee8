"""Names of parts of known blocks, and how to find them in a tree of modules."""

import re

from weightatlas.weights.axes import Line, length
from weightatlas.weights.infer_layers import Unit
from weightatlas.weights.infer_names import Module

QUERY = {"q", "q_proj", "query", "q_lin", "to_q", "wq", "query_proj"}
KEY = {"k", "k_proj", "key", "k_lin", "to_k", "wk", "key_proj"}
VALUE = {"v", "v_proj", "value", "v_lin", "to_v", "wv", "value_proj"}
PACKED = {"qkv", "c_attn", "to_qkv", "Wqkv", "wqkv", "query_key_value", "in_proj", "qkv_proj"}
OUT = {"proj", "out_proj", "o_proj", "c_proj", "o", "out_lin", "to_out", "wo", "dense", "out", "projection"}
PAIRS = (
    *(("fc1", "fc2"), ("c_fc", "c_proj"), ("lin1", "lin2"), ("linear1", "linear2"), ("w_1", "w_2")),
    *(("wi", "wo"), ("dense_h_to_4h", "dense_4h_to_h"), ("pwconv1", "pwconv2"), ("fc_in", "fc_out")),
    *(("up_proj", "down_proj"), ("up", "down"), ("down", "up"), ("down_proj", "up_proj")),
    *(("intermediate.dense", "output.dense"), ("conv_reduce", "conv_expand")),
)
GATED = (("gate_proj", "up_proj", "down_proj"), ("w1", "w3", "w2"), ("wi_0", "wi_1", "wo"))
LOW, HIGH = re.compile(r"lora_(a|down)$", re.I), re.compile(r"lora_(b|up)$", re.I)
SHORTCUT = ("downsample", "shortcut", "skip", "convShortcut", "conv_shortcut", "identity_conv")


LAYER = {"weight", "bias", "gamma", "beta", "running_mean", "running_var"}
TURNED = "a flatten with channels last puts positions first: members of a channel do not stand together"
SPREAD = {"linear1", "intermediate.dense", "lin1", "fc1"}


def follows(before: tuple[int, Unit], after: tuple[int, Unit]) -> bool:
    """Tell whether one layer of a Sequential can read what the one before it writes."""
    (place, a), (next_place, b) = before, after
    if a.width_out == b.width_in:
        return not (a.spatial and b.first == "linear" and next_place - place < 3)
    fits = a.spatial and b.width_in % a.width_out == 0 and a.width_out > 1 and not pooled(a, b)
    return fits and (b.first == "linear" or b.kind == "norm") and next_place - place >= 3 - (b.layers == 0)


def pooled(before: Unit, after: Unit) -> bool:
    """Tell whether what looks like a flatten may be two or three global poolings side by side."""
    return after.width_in in (2 * before.width_out, 3 * before.width_out)


def parts_of(node: Module) -> dict[str, Module]:
    """Layers inside an attention module, by their own name; `to_out.0` counts as `to_out`."""
    found: dict[str, Module] = {}
    for leaf in node.walk():
        if is_layer(leaf):
            name = leaf.name
            if name.isdigit() and "." in leaf.path:
                name = leaf.path.split(".")[-2]
            found[name if name not in found else leaf.path] = leaf
    return found


def is_layer(node: Module) -> bool:
    return len(node.tensors.get("weight", ())) >= 2


def names_part(parts: dict[str, Module], which: int) -> bool:
    return bool(set(parts) & (QUERY, KEY, VALUE)[which])


def shortcut_of(node: Module) -> Module | None:
    """The shortcut of a residual block."""
    return next((node.children[name] for name in SHORTCUT if name in node.children), None)


def pairs_of(node: Module) -> list[tuple[Module, Module]] | None:
    """Pairs (conv, norm) of a residual block in order, or none if it holds anything else."""
    side = shortcut_of(node)
    parts = {name: child for name, child in node.children.items() if child is not side}
    count = len(parts) // 2
    norm = "bn" if "bn1" in parts else "norm"
    wanted = {f"conv{i}" for i in range(1, count + 1)} | {f"{norm}{i}" for i in range(1, count + 1)}
    if count < 2 or set(parts) != wanted or node.tensors or any(p.children for p in parts.values()):
        return None
    pairs = [(parts[f"conv{i}"], parts[f"{norm}{i}"]) for i in range(1, count + 1)]
    sound = all(len(c.tensors.get("weight", ())) > 2 and "running_mean" in n.tensors for c, n in pairs)
    return pairs if sound else None


def kind_of(node: Module) -> str:
    """Name the kind of a block by its children, without the shortcut."""
    side = shortcut_of(node)
    return " ".join(sorted(name for name, child in node.children.items() if child is not side))


def only_layer(node: Module) -> Module | None:
    """The one layer inside a module (`lora_A.default.weight`)."""
    leaves = [leaf for leaf in node.walk() if leaf.tensors]
    return leaves[0] if len(leaves) == 1 and is_layer(leaves[0]) else None


def line_of(line: Line | None) -> Line:
    assert line is not None
    assert length(line) >= 0
    return line
