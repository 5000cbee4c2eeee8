"""Values that formulas write and no tensor tells of: positions of tokens, the time of a step.

Sines of positions are often computed, not stored. Where they are added to a stream, its entries cannot be
reordered; and a layer that reads the sines of a time reads no layer, even if one writes the same width.
"""

import re
from collections.abc import Iterable, Sequence

from weightatlas.weights.axes import length
from weightatlas.weights.infer_layers import Unit

_TURNED = re.compile(r"rotary|inv_freq|rope|relative|rel_pos|alibi", re.I)
_LLAMA = ({"input_layernorm", "gate_proj"}, {"attention_norm", "w3"})
_STORED = re.compile(r"pos|wpe", re.I)
_TIME = re.compile(r"(^|[._])(time(?!_dist)|temb|t_emb|t_proj|sigma|noise_level|fourier|freq)", re.I)


def hidden_formulas(units: Sequence[Unit], names: Iterable[str], streams: bool) -> dict[int, str]:
    """List widths that a formula may write, with the reason to fix them.

    Positions count as known if a tensor of the stream's width is named after them, or if names tell that
    queries and keys are turned instead (rotary, relative, or a block of the LLaMA kind).

    Example:
        >>> from weightatlas.weights.axes import fresh
        >>> units = [Unit("time_mlp.1", "linear", fresh(64), fresh(256), first="linear")]
        >>> hidden_formulas(units, ["time_mlp.1.weight"], False)
        {64: "'time_mlp.1' may read a time, written by a formula"}

    Args:
        units: Parts of the network.
        names: Names of all tensors.
        streams: Whether its attention reads tokens rather than maps.
    """
    found = {
        unit.width_in: f"'{unit.name}' may read a time, written by a formula"
        for unit in units
        if unit.first == "linear" and unit.source is not None and _TIME.search(unit.name.split(" ")[0])
    }
    names = list(names)
    if not streams or _turns(names):
        return found
    stored = {
        length(line)
        for unit in units
        if _STORED.search(unit.name)
        for line in ([unit.out] if unit.out is not None else unit.axes)
    }
    for unit in units:
        if unit.kind == "attention" and unit.width_in not in stored:
            found.setdefault(unit.width_in, "no tensor holds positions: a formula may add them")
    return found


def _turns(names: list[str]) -> bool:
    """Tell whether names say that positions turn queries and keys instead of being added."""
    parts = {part for name in names for part in name.split(".")}
    return any(_TURNED.search(name) for name in names) or any(block <= parts for block in _LLAMA)
