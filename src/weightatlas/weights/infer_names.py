"""Names of tensors as a tree of modules, in the order in which networks usually use them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

Shape = tuple[int, ...]

_LOCALS = ("in_proj_weight", "in_proj_bias", "weight", "gamma", "scale", "bias", "beta")
_LOCALS += ("running_mean", "running_var")
_FIRST = "stem patch embed embedding embeddings wte wpe tok token pos position word shared input first inp"
_ATTENTION = "attn attention selfattention encdecattention crossattn"
_HIDDEN = "mlp ffn feed_forward intermediate densereludense feedforward"
_MIDDLE = "mid middle bottleneck neck latent pre_logits"
_LATE = "decoder up upconv dec"
_SIDE = "downsample shortcut skip identity"
_NORM = "norm ln layernorm layer_norm ln_f bn final_layer_norm batchnorm"
_HEAD = "fc linear classifier head heads lm_head output logits out policy value actor critic action_net"
_HEAD += " value_net pooler cls score predictions pi action mean q logstd final last"
_RANKS = {
    word: rank
    for rank, words in enumerate((_FIRST, "", _MIDDLE, _LATE, _SIDE, _NORM, _HEAD))
    for word in words.split()
}
_RANKS |= dict.fromkeys(_ATTENTION.split(), 1) | dict.fromkeys(_HIDDEN.split(), 1)
# Words inside a block: (place, place among those of one number).
_PLACES = {
    **dict.fromkeys(("input_layernorm", "layernorm_before", "attention_norm"), 1.0),
    **dict.fromkeys(_ATTENTION.split(), 1.5),
    **dict.fromkeys(("self_attn", "self_attention", "self"), 1.5),
    **dict.fromkeys(("post_attention_layernorm", "layernorm_after", "ffn_norm", "sa_layer_norm"), 2.0),
    **dict.fromkeys(_HIDDEN.split(), 2.5),
}
_BLOCK = ("self_attn", "self_attention", "self", "attn", "attention", "intermediate")
_KINDS = ("conv", "convolution", "linear", "fc", "lin", "bn", "norm", "normalization", "ln", "gn")


@dataclass(eq=False)
class Module:
    """A node of the tree: the tensors it owns and the modules inside it.

    Args:
        path: Its full name; empty for the root.
        tensors: Own tensors, local name -> shape.
        children: Modules inside, by name.
    """

    path: str
    tensors: dict[str, Shape] = field(default_factory=dict)
    children: dict[str, "Module"] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def numbered(self) -> bool:
        """Whether it is a container whose children are numbers, as in Sequential and ModuleList."""
        return bool(self.children) and not self.tensors and all(n.isdigit() for n in self.children)

    def full(self, local: str) -> str:
        """Full name of one of its tensors."""
        return f"{self.path}.{local}" if self.path else local

    def walk(self) -> list["Module"]:
        """List this module and all inside it, in canonical order."""
        return [self, *(inner for child in self.ordered() for inner in child.walk())]

    def ordered(self) -> list["Module"]:
        """List the children in canonical order."""
        block = any(name in self.children for name in _BLOCK)
        return [self.children[name] for name in sorted(self.children, key=lambda n: _key(n, block))]


def tree_of(shapes: Mapping[str, Shape]) -> Module:
    """Arrange tensors by the dots in their names.

    Example:
        >>> tree = tree_of({"fc.weight": (2, 3), "conv1.weight": (4, 1, 3, 3), "bn1.weight": (4,)})
        >>> [module.path for module in tree.walk()]
        ['', 'conv1', 'bn1', 'fc']
    """
    root = Module("")
    for name, shape in shapes.items():
        *path, local = name.split(".")
        node = root
        for part in path:
            child = f"{node.path}.{part}" if node.path else part
            node = node.children.setdefault(part, Module(child))
        node.tensors[local] = tuple(shape)
    return root


def canonical_order(root: Module) -> list[str]:
    """List all tensor names in canonical order: a module's own first, then those of its children."""
    return [
        node.full(local)
        for node in root.walk()
        for local in sorted(node.tensors, key=lambda n: (_LOCALS.index(n) if n in _LOCALS else -1, n))
    ]


def _key(name: str, block: bool) -> tuple[float | int, float | int, int, str]:
    """Order siblings: by number where all are numbers, else by what the words say."""
    if name.isdigit():
        return (1, int(name), 0, name)
    word, number = _split(name)
    if block and (place := _place(word, number)) is not None:
        return (1, place, 0, name)
    rank = _RANKS.get(word, _RANKS.get(name.lower(), _RANKS.get(word.split("_")[0], 1)))
    if rank == 5 and number is not None:  # bn1 stands behind conv1, a bare norm behind all blocks
        rank = 1
    kind = _KINDS.index(word) if word in _KINDS else len(_KINDS)
    bare = 1_000_000 if rank == 6 else -1  # a bare fc stands behind fc1 and fc2
    return (rank, bare if number is None else number, kind, name)


def _place(word: str, number: int | None) -> float | int | None:
    """Place of a module inside a transformer block."""
    if word in ("norm", "ln", "layer_norm", "layernorm", "linear") and number is not None:
        return 2.5 + number / 10 if word == "linear" else number
    if word == "linear" or word == "output":
        return 2.7
    return _PLACES.get(word)


def _split(name: str) -> tuple[str, int | None]:
    """Split "conv2d_1" into its word and its number."""
    found = re.fullmatch(r"(.*?)_?(?:\dd)?_?(\d*)", name)
    word, number = (found[1], found[2]) if found else (name, "")
    return word.lower(), int(number) if number else None
