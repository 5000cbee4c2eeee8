"""Axes as runs of symbols: which entries must be permuted together.

A symbol stands for the members of one run of an axis. Operations make symbols equal
(`unify`); where two axes are cut differently, symbols are split or grouped until they fit.
"""

from typing import NamedTuple

from weightatlas.weights.spec import Axis, Segment


class Symbol:
    """The members of one run; compared by identity.

    Args:
        members: How many members it stands for.
        fixed: True if they may not be permuted.
    """

    __slots__ = ("fixed", "members", "parts")

    def __init__(self, members: int, fixed: bool = False) -> None:
        self.members, self.fixed = members, fixed
        self.parts: Line | None = None


class Run(NamedTuple):
    """A symbol on an axis, each member spanning `positions` consecutive entries."""

    symbol: Symbol
    positions: int = 1

    @property
    def size(self) -> int:
        return self.symbol.members * self.positions


Line = tuple[Run, ...]


def fresh(size: int) -> Line:
    """Make an axis whose members may be permuted freely."""
    return (Run(Symbol(size, fixed=size < 2)),)


def constant(size: int) -> Line:
    """Make an axis that may not be permuted."""
    return (Run(Symbol(size, fixed=True)),)


def length(line: Line) -> int:
    """Count the entries of an axis."""
    return sum(run.size for run in line)


def resolve(line: Line) -> Line:
    """Replace symbols that were split, grouped or made equal by what they became."""
    found: list[Run] = []
    for run in line:
        if run.symbol.parts is None:
            found.append(run)
            continue
        run.symbol.parts = resolve(run.symbol.parts)
        found.extend(Run(part.symbol, part.positions * run.positions) for part in run.symbol.parts)
    return tuple(found)


def is_fixed(line: Line) -> bool:
    """Tell whether no entry of an axis may move."""
    return all(run.symbol.fixed for run in resolve(line))


def fix(line: Line) -> None:
    """Forbid every permutation of an axis."""
    for run in resolve(line):
        run.symbol.fixed = True


def stretch(line: Line, positions: int) -> Line:
    """Let every entry of an axis become `positions` consecutive ones."""
    return tuple(Run(run.symbol, run.positions * positions) for run in resolve(line))


def merge(outer: Line, inner: Line) -> Line:
    """Flatten two neighboring axes into one, row-major.

    Only one of the two can keep its freedom; if both have some, the inner one is fixed.
    """
    if is_fixed(outer) and not is_fixed(inner):
        return resolve(inner) * length(outer)
    fix(inner)
    return stretch(outer, length(inner))


def unify(first: Line, second: Line) -> None:
    """Make two axes of equal length move together, with as much freedom as both allow.

    Example:
        >>> channels, neurons = fresh(4), fresh(12)
        >>> unify(stretch(channels, 3), neurons)
        >>> resolve(neurons) == stretch(channels, 3)
        True

    Raises:
        ValueError: The lengths differ.
    """
    if length(first) != length(second):
        raise ValueError(f"axes of {length(first)} and {length(second)} entries cannot be equal")
    while _align(resolve(first), resolve(second)):
        pass


def cut(line: Line, at: int) -> tuple[Line, Line]:
    """Cut an axis in two at an entry; a symbol that straddles the cut is split or fixed."""
    start = 0
    line = resolve(line)
    for index, run in enumerate(line):
        if start == at:
            return line[:index], line[index:]
        inside = at - start
        if inside < run.size and run.symbol.fixed:
            return line[:index] + constant(inside), constant(run.size - inside) + line[index + 1 :]
        if inside < run.size:
            _make_room(run, inside)
            return cut(line, at)
        start += run.size
    return line, ()


def axis_of(line: Line, groups: dict[Symbol, int]) -> Axis:
    """Turn a resolved axis into segments; neighbors without a group are joined.

    Args:
        line: The axis.
        groups: Group number of each symbol that may be permuted.
    """
    segments: list[Segment] = []
    for run in resolve(line):
        group = groups.get(run.symbol)
        if group is not None:
            segments.append(Segment(group=group, members=run.symbol.members, positions=run.positions))
        elif segments and segments[-1].group is None:
            segments[-1] = Segment(members=segments[-1].members + run.size)
        else:
            segments.append(Segment(members=run.size))
    return tuple(segments)


def _align(first: Line, second: Line) -> bool:
    """Make the first change needed for two axes to agree; False if they already do."""
    i = j = used_i = used_j = 0
    while i < len(first) and j < len(second):
        a, b = first[i], second[j]
        if a.symbol.fixed and b.symbol.fixed:
            step = min(a.size - used_i, b.size - used_j)
            used_i, used_j = used_i + step, used_j + step
            i, used_i = (i + 1, 0) if used_i == a.size else (i, used_i)
            j, used_j = (j + 1, 0) if used_j == b.size else (j, used_j)
        elif a.symbol.fixed:
            _make_room(b, a.size - used_i)
            return True
        elif b.symbol.fixed:
            _make_room(a, b.size - used_j)
            return True
        elif a == b:
            i, j = i + 1, j + 1
        else:
            _meet(a, b)
            return True
    return False


def _make_room(run: Run, size: int) -> None:
    """Split a run after `size` entries; where that is impossible or needless, fix it."""
    if size < run.size and size % run.positions == 0:
        _split(run.symbol, size // run.positions)
    else:
        run.symbol.fixed = True


def _meet(a: Run, b: Run) -> None:
    """Bring two different free runs that start at the same entry one step closer."""
    if a.positions > b.positions:
        a, b = b, a
    s, t, times = a.symbol, b.symbol, b.positions // a.positions
    covered = min(s.members // times, t.members)
    if s is t or b.positions % a.positions or covered == 0:
        s.fixed = t.fixed = True
    elif s.members > times * covered:
        _split(s, times * covered)
    elif t.members > covered:
        _split(t, covered)
    else:
        s.parts = (Run(t, times),)


def _split(symbol: Symbol, at: int) -> None:
    """Replace a symbol by two: its first `at` members and the others."""
    sizes = (at, symbol.members - at)
    symbol.parts = tuple(Run(Symbol(size, fixed=symbol.fixed or size < 2)) for size in sizes)
