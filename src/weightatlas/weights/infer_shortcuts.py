"""Where a shortcut may add channels of two widths although no tensor tells of it.

A sum of equal widths keeps the permutation that all axes of that width share. A sum that slices or pads one
side (option A of He et al., 2016, pyramidal networks, the CNN Wild Park) ties the members of two widths in
a way that shapes do not show: the padding may stand in front, behind or on both sides.
"""

from collections.abc import Sequence, Set

from weightatlas.weights.infer_layers import Unit

_STREAMS = ("conv", "depthwise", "linear", "chain", "residual")
_SPAN = 2  # He et al. (2016), section 3.2: around one layer alone a shortcut is of no use


def unequal_sums(units: Sequence[Unit], hidden: Set[int]) -> dict[int, str]:
    """Find the widths that a sliced or padded shortcut could join.

    What a layer writes may be added to what another one writes at least two layers later; inside a
    numbered list that is no Sequential, where one loop runs all layers, also to the next one. Residual blocks
    with layers in their shortcuts are known, and features without positions are not added to maps.

    Example:
        >>> from weightatlas.weights.axes import fresh
        >>> def conv(name, a, b):
        ...     return Unit(name, "conv", fresh(a), fresh(b), spatial=True)
        >>> units = [conv("a", 3, 8), conv("b", 8, 4), conv("c", 4, 16), conv("d", 16, 5)]
        >>> unequal_sums(units, {4, 8, 16})
        {8: "'c' may add a slice of what 'a' writes", 16: "'c' may add a slice of what 'a' writes"}

    Args:
        units: Parts of a network in order, without the last, which writes the output.
        hidden: Widths that some unit reads.

    Returns:
        Width -> why its axes must not move, for both widths of each possible sum.

    Source: He et al. (2016), section 3.3, option A; Kofinas et al. (2024), CNN Wild Park.
    """
    listed = _listed(units)
    before: dict[tuple[bool, int], tuple[int, Unit]] = {}  # The first writer of a width is the farthest.
    found: dict[int, str] = {}
    depth = 0
    for unit in units:
        depth += unit.layers
        if unit.kind not in _STREAMS or unit.width_out not in hidden:
            continue
        span = 1 if unit.name in listed else _SPAN
        for (spatial, width), (start, other) in before.items():
            apart = depth - start >= span and unit.kind != "residual"
            if apart and spatial == unit.spatial and width != unit.width_out:
                reason = f"'{unit.name}' may add a slice of what '{other.name}' writes"
                found.setdefault(width, reason)
                found.setdefault(unit.width_out, reason)
        before.setdefault((unit.spatial, unit.width_out), (depth, unit))
    return found


def _listed(units: Sequence[Unit]) -> set[str]:
    """Names of units in numbered containers that hold several units: lists that a loop may run."""
    members: dict[str, set[str]] = {}
    for unit in units:
        for container, number in _numbers(unit.name):
            members.setdefault(container, set()).add(number)
    several = {container for container, numbers in members.items() if len(numbers) > 1}
    return {unit.name for unit in units if several & {container for container, _ in _numbers(unit.name)}}


def _numbers(name: str) -> list[tuple[str, str]]:
    """Containers a layer stands in, each with its number there: `a.0.b.1` -> (a, 0), (a.0.b, 1)."""
    parts = name.split(" ")[0].split(".")
    return [(".".join(parts[:place]), part) for place, part in enumerate(parts) if part.isdigit()]
