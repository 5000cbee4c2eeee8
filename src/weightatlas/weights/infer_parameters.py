"""Other names for weights and biases: `W1` and `b1`, `fc1_w`, `coefs_.0`, `0._weight`, `0.weights.1`."""

import re
from collections.abc import Mapping

_PARTS = {
    **dict.fromkeys(("weight", "weights", "w", "kernel", "kernels", "coef", "coefs"), "weight"),
    **dict.fromkeys(("bias", "biases", "b", "intercept", "intercepts"), "bias"),
}
_WORDS = "|".join(sorted(_PARTS, key=len, reverse=True))
_PLAIN = re.compile(rf"_?(?P<part>{_WORDS})_?", re.I)
_NUMBERED = re.compile(rf"_?(?P<part>{_WORDS})_?[._]?(?P<number>\d+)", re.I)
_ENDING = re.compile(r"(?P<layer>.+)_(?P<part>w|b)", re.I)  # in_proj_weight is a name of its own
_PAIR = re.compile(r"(?P<layer>.+)\.weights?\.(?P<place>[01])")


def usual_names(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Give weights and biases the names that PyTorch's layers give them.

    Names that are usual already, and those that say nothing, stay. If two would become one, all stay.

    Example:
        >>> usual_names({"W1": (4, 8), "b1": (8,), "fc_w": (8, 2), "steps": (1,)})
        {'W1': 'layer1.weight', 'b1': 'layer1.bias', 'fc_w': 'fc.weight', 'steps': 'steps'}

    Args:
        shapes: Name -> shape of all tensors of a network.

    Returns:
        Name -> usual name, in the order given.
    """
    found = {name: _usual(name, shapes) for name in shapes}
    return found if len(set(found.values())) == len(found) else {name: name for name in shapes}


def _usual(name: str, shapes: Mapping[str, tuple[int, ...]]) -> str:
    if name.rpartition(".")[2] in ("weight", "bias") or not 1 <= len(shapes[name]) <= 5:
        return name
    pair = _PAIR.fullmatch(name)
    if pair and _is_pair(name[:-1], shapes):
        return f"{pair['layer']}.{('weight', 'bias')[int(pair['place'])]}"
    owner, local = _split(name)
    numbered = _NUMBERED.fullmatch(local)
    if numbered:
        return f"{owner}layer{numbered['number']}.{_PARTS[numbered['part'].lower()]}"
    plain = _PLAIN.fullmatch(local)
    if plain and owner:
        return f"{owner}{_PARTS[plain['part'].lower()]}"
    ending = _ENDING.fullmatch(local)
    return f"{owner}{ending['layer']}.{_PARTS[ending['part'].lower()]}" if ending else name


def _split(name: str) -> tuple[str, str]:
    """Split a name into its module and the rest; the number of a list belongs to the rest."""
    owner, dot, local = name.rpartition(".")
    if local.isdigit() and owner:
        owner, dot, word = owner.rpartition(".")
        local = f"{word}.{local}"
    return owner + dot, local


def _is_pair(stem: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Tell whether a list is one layer's weight and bias rather than the weights of several layers."""
    weight, bias = shapes.get(f"{stem}0", ()), shapes.get(f"{stem}1", ())
    return (
        len(weight) > 1 and len(bias) == 1 and bias[0] in (weight[0], weight[-1]) and f"{stem}2" not in shapes
    )
