"""Recurrent layers: LSTM, GRU and plain ones, as layers or cells, of PyTorch and Keras.

Their matrices stack gates and their state is fed back step by step; all their axes stay fixed.
"""

import re

from weightatlas.weights.axes import constant, fix
from weightatlas.weights.infer_layers import Reader, Unit
from weightatlas.weights.infer_names import Module

_TORCH = re.compile(r"(weight|bias)_(ih|hh|hr)(_l\d+)?(_reverse)?")
_KERAS = ("weight", "recurrent_weight", "bias")


def recurrent_names(node: Module) -> list[str]:
    """List the tensors of a recurrent layer among those of a module; empty if it is none.

    Example:
        >>> cell = Module("rnn", {"weight_ih": (8, 3), "weight_hh": (8, 2), "scale": (1,)})
        >>> recurrent_names(cell)
        ['weight_ih', 'weight_hh']
    """
    names = [name for name in node.tensors if _TORCH.fullmatch(name)]
    if "recurrent_weight" in node.tensors:
        names += [name for name in _KERAS if name in node.tensors]
    matrices = [name for name in names if "weight" in name and len(node.tensors[name]) == 2]
    return names if len(matrices) > 1 else []


def recurrent_unit(reader: Reader, node: Module) -> Unit:
    """Fix all tensors of a recurrent layer; what it reads and writes is told by its first and last matrix."""
    names = recurrent_names(node)
    for name in names:
        reader.roles[node.full(name)] = "bias" if "bias" in name else "weight"
        for line in reader.lines[node.full(name)]:
            fix(line)
    matrices = [name for name in names if "weight" in name]
    first = next(name for name in matrices if "_hh" not in name and "recurrent" not in name)
    state = node.tensors[next(name for name in matrices if "_hh" in name or "recurrent" in name)]
    shrunk = [node.tensors[name][0] for name in matrices if "_hr" in name]
    width = (shrunk or [state[1]])[0] * (2 if any(name.endswith("_reverse") for name in names) else 1)
    text = f"recurrent {node.tensors[first][1]} → {width}"
    reader.say(node.path, "layer", text, "certain", "one matrix reads the input, one the state")
    return Unit(node.path, "recurrent", reader.lines[node.full(first)][-1], constant(width))
