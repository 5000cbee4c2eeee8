"""Axis rules of operations that move, cut, join or reshape axes."""

from math import prod
from typing import Any

from weightatlas.weights.axes import (
    Line,
    constant,
    cut,
    fix,
    fresh,
    is_fixed,
    length,
    merge,
    resolve,
    stretch,
    unify,
)
from weightatlas.weights.rules import Call, Opaque, Tracked, broadcast, constants, rule


@rule("flatten", "view", "reshape", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as")
def _reshape(call: Call) -> Tracked:
    """Match blocks of old and new axes with equal products; axes of one entry are free."""
    x = call["input"]
    if 0 in call.shape:
        return constants(call.shape)
    old = [line for line in x.lines if length(line) != 1]
    new = [size for size in call.shape if size != 1]
    lines = iter(_match_blocks(old, new))
    return Tracked([constant(1) if size == 1 else next(lines) for size in call.shape])


def _match_blocks(old: list[Line], new: list[int]) -> list[Line]:
    """Walk both lists of axes and reshape each smallest block of equal size."""
    found: list[Line] = []
    i = j = 0
    while i < len(old):
        k, m = i + 1, j + 1
        while (left := prod(length(line) for line in old[i:k])) != (right := prod(new[j:m])):
            k, m = (k + 1, m) if left < right else (k, m + 1)
        found += _block(old[i:k], new[j:m])
        i, j = k, m
    return found


def _block(old: list[Line], new: list[int]) -> list[Line]:
    """Reshape one block: keep, merge or split; a mixture is fixed."""
    if len(old) == len(new) == 1:
        return old
    if len(new) == 1:
        merged = old[-1]
        for line in reversed(old[:-1]):
            merged = merge(line, merged)
        return [merged]
    if len(old) == 1:
        return _split_axis(old[0], new)
    for line in old:
        fix(line)
    return [constant(size) for size in new]


def _split_axis(line: Line, sizes: list[int]) -> list[Line]:
    """Split one axis in several, for example an embedding into heads x width.

    The first new axis keeps the freedom, its members spanning the others, unless the axis is a
    repetition of the inner ones, or stacks queries, keys and values (3 x heads x width).
    """
    line = resolve(line)
    if len(sizes) == 1:
        return [line]
    if is_fixed(line):
        return [constant(size) for size in sizes]
    inner = prod(sizes[1:])
    runs = len(line) // sizes[0]
    repeated = line[:runs] * sizes[0] == line
    if not repeated and sizes[0] == 3 and len(sizes) == 3:
        heads = stretch(fresh(sizes[1]), sizes[2])
        unify(line, heads * 3)
        line, repeated = resolve(line), True
        runs = len(line) // 3
    if repeated and length(line[:runs]) == inner:
        return [constant(sizes[0]), *_split_axis(line[:runs], sizes[1:])]
    members = fresh(sizes[0])
    unify(line, stretch(members, inner))
    return [members, *(constant(size) for size in sizes[1:])]


@rule("permute", "movedim")
def _permute(call: Call) -> Tracked:
    dims = [*call.extra] if call.extra else call.get("dims")
    dims = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    if len(dims) != len(call["input"].lines):
        raise Opaque("a partial permutation of axes")
    return Tracked([call["input"].lines[d] for d in dims])


@rule("transpose", "swapaxes")
def _transpose(call: Call) -> Tracked:
    lines = list(call["input"].lines)
    a, b = call["dim0"], call["dim1"]
    lines[a], lines[b] = lines[b], lines[a]
    return Tracked(lines)


@rule("T", "mT", "t")
def _matrix_transpose(call: Call) -> Tracked:
    lines = list(call["input"].lines)
    return Tracked([*lines[:-2], *reversed(lines[-2:])])


@rule("expand", "expand_as", "broadcast_to")
def _expand(call: Call) -> Tracked:
    return broadcast([call["input"]], call.shape)


@rule("repeat")
def _repeat(call: Call) -> Tracked:
    x = call["input"]
    padded = [constant(1)] * (len(call.shape) - len(x.lines)) + x.lines
    return Tracked(
        [resolve(line) * (size // length(line)) for line, size in zip(padded, call.shape, strict=True)]
    )


@rule("cat", "concat", "concatenate")
def _cat(call: Call) -> Tracked:
    """Segments join along one axis; the other axes move together."""
    tensors, dim = call["tensors"], call.get("dim", 0) % len(call.shape)
    lines = list(tensors[0].lines)
    for axis in range(len(lines)):
        for other in tensors[1:]:
            if axis != dim:
                unify(lines[axis], other.lines[axis])
    lines[dim] = tuple(run for tensor in tensors for run in tensor.lines[dim])
    return Tracked(lines)


@rule("stack")
def _stack(call: Call) -> Tracked:
    tensors, dim = call["tensors"], call.get("dim", 0) % len(call.shape)
    joined = broadcast(list(tensors), tensors[0].shape)
    return Tracked([*joined.lines[:dim], constant(len(tensors)), *joined.lines[dim:]])


@rule("chunk", "split", "tensor_split")
def _split(call: Call) -> list[Tracked]:
    """Cut one axis in pieces; symbols that straddle a cut are split."""
    x, dim = call["input"], call.get("dim", 0)
    dim %= len(x.lines)
    rest, pieces = x.lines[dim], []
    for shape in call.shapes:
        head, rest = cut(rest, shape[dim])
        pieces.append(head)
    return [Tracked([*x.lines[:dim], piece, *x.lines[dim + 1 :]]) for piece in pieces]


@rule("unbind")
def _unbind(call: Call) -> list[Tracked]:
    x, dim = call["input"], call.get("dim", 0)
    dim %= len(x.lines)
    fix(x.lines[dim])
    return [Tracked([*x.lines[:dim], *x.lines[dim + 1 :]]) for _ in call.shapes]


@rule("narrow")
def _narrow(call: Call) -> Tracked:
    x, dim, start = call["input"], call["dim"] % len(call.shape), call["start"]
    lines = list(x.lines)
    lines[dim] = _piece(lines[dim], slice(start, start + call["length"]))
    return Tracked(lines)


@rule("select")
def _select(call: Call) -> Tracked:
    x, dim = call["input"], call["dim"] % len(call["input"].lines)
    fix(x.lines[dim])
    return Tracked([line for axis, line in enumerate(x.lines) if axis != dim])


@rule("getitem")
def _getitem(call: Call) -> Tracked:
    """Index with integers, slices, None and Ellipsis."""
    x, index = call["input"], call["index"]
    items: list[Any] = list(index) if isinstance(index, tuple) else [index]
    if not all(i is None or i is Ellipsis or isinstance(i, (int, slice)) for i in items):
        raise Opaque("an index that is a tensor or a list")
    named = sum(i is not None and i is not Ellipsis for i in items)
    gap = [slice(None)] * (len(x.lines) - named)
    at = items.index(Ellipsis) if Ellipsis in items else len(items)
    items = items[:at] + gap + items[at + 1 :]
    lines, source = [], iter(x.lines)
    for item in items:
        if item is None:
            lines.append(constant(1))
            continue
        line = next(source)
        if isinstance(item, slice):
            lines.append(_piece(line, item))
        else:
            fix(line)
    return Tracked(lines)


def _piece(line: Line, item: slice) -> Line:
    """Take a slice of an axis; one with steps fixes it."""
    start, stop, step = item.indices(length(line))
    if (start, stop, step) == (0, length(line), 1):
        return line
    if step != 1:
        fix(line)
        return constant(len(range(start, stop, step)))
    _, tail = cut(line, start)
    return cut(tail, max(stop - start, 0))[0]


@rule("arange", "zeros", "ones", "full", "tensor", "randn", "rand", "empty", "new_zeros", "new_ones", "size")
def _constant(call: Call) -> Tracked:
    return constants(call.shape)
