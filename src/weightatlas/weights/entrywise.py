"""Axis rules of operations without tensors of their own: entry by entry, reductions, pooling, products."""

from weightatlas.weights.axes import Line, constant, cut, fix, fresh, is_fixed, length, stretch, unify
from weightatlas.weights.rules import Call, Opaque, Tracked, broadcast, channels, constants, rule


@rule("matmul", "bmm", "mm")
def _matmul(call: Call) -> Tracked:
    first, second = call["input"], call["other"]
    if len(first.lines) < 2 or len(second.lines) < 2:
        raise Opaque("a product with a vector")
    unify(first.lines[-1], second.lines[-2])
    batch = broadcast([Tracked(first.lines[:-2]), Tracked(second.lines[:-2])], call.shape[:-2])
    return Tracked([*batch.lines, first.lines[-2], second.lines[-1]])


@rule(
    *("add", "sub", "mul", "div", "truediv", "pow", "rsub", "maximum", "minimum", "where", "lerp", "addcmul"),
    *("eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "masked_fill", "radd", "rmul"),
    *("atan2", "fmod", "remainder", "floor_divide", "copysign", "hypot", "xlogy"),
)
def _combine(call: Call) -> Tracked:
    tensors = [value for value in (*call.arguments.values(), *call.extra) if isinstance(value, Tracked)]
    return broadcast(tensors, call.shape)


@rule(
    *(
        "relu",
        "relu6",
        "leaky_relu",
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "mish",
        "sigmoid",
        "tanh",
        "softplus",
    ),
    *(
        "hardtanh",
        "hardswish",
        "hardsigmoid",
        "hardshrink",
        "softshrink",
        "tanhshrink",
        "softsign",
        "logsigmoid",
    ),
    *(
        "threshold",
        "exp",
        "log",
        "log1p",
        "expm1",
        "sqrt",
        "rsqrt",
        "square",
        "abs",
        "neg",
        "sin",
        "cos",
        "tan",
    ),
    *(
        "reciprocal",
        "clamp",
        "clamp_min",
        "clamp_max",
        "clip",
        "sign",
        "erf",
        "float",
        "double",
        "half",
        "to",
    ),
    *("contiguous", "clone", "detach", "type_as", "softmax", "log_softmax", "softmin", "normalize", "floor"),
    *("round", "ceil", "nan_to_num", "asin", "acos", "atan", "sinh", "cosh", "sinc", "log2", "log10", "long"),
    *("logical_not", "isfinite", "zeros_like", "ones_like", "bool", "type", "rrelu", "log_sigmoid"),
)
def _entrywise(call: Call) -> Tracked:
    """Each entry alone, or symmetrically over an axis (softmax): the axes stay as they are."""
    x = call["input"]
    if x.shape != call.shape:
        raise Opaque("it changes the shape")
    return x


@rule("glu")
def _glu(call: Call) -> Tracked:
    """Halve an axis: each entry of the first half is gated by its partner in the second."""
    x, dim = call["input"], call.get("dim", -1)
    first, second = cut(x.lines[dim], length(x.lines[dim]) // 2)
    unify(first, second)
    return Tracked([first if i == dim % len(x.lines) else line for i, line in enumerate(x.lines)])


@rule("mean", "sum", "amax", "amin", "var", "std", "norm", "logsumexp", "prod", "vector_norm", "all", "any")
def _reduce(call: Call) -> Tracked:
    """Symmetric in the reduced axes: they vanish, or stay with one entry."""
    x, dim = call["input"], call.get("dim")
    dims = range(len(x.lines)) if dim is None else (dim if isinstance(dim, (tuple, list)) else (dim,))
    gone = {d % len(x.lines) for d in dims}
    if len(call.shape) == len(x.lines):
        return Tracked([constant(1) if i in gone else line for i, line in enumerate(x.lines)])
    return Tracked([line for i, line in enumerate(x.lines) if i not in gone])


@rule("max", "min", "median", "argmax", "argmin", "sort", "cumsum", "cumprod", "flip", "roll", "topk")
def _ordered(call: Call) -> Tracked | list[Tracked]:
    """Indices, or an order along an axis, are read: that axis is fixed."""
    x, dim = call["input"], call.get("dim", call.get("other"))
    if isinstance(dim, Tracked):
        return broadcast([x, dim], call.shape)
    dims = range(len(x.lines)) if dim is None else (dim if isinstance(dim, (tuple, list)) else (dim,))
    gone = {d % len(x.lines) for d in dims}
    for axis in gone:
        fix(x.lines[axis])
    kept = [line for i, line in enumerate(x.lines) if i not in gone]
    same = len(call.shape) == len(x.lines)
    outputs = [
        Tracked(
            [constant(shape[i]) if i in gone else line for i, line in enumerate(x.lines)] if same else kept
        )
        for shape in call.shapes
    ]
    return outputs if len(outputs) > 1 else outputs[0]


_POOLS = [
    f"{kind}_pool{n}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max", "lp") for n in (1, 2, 3)
]


@rule(*_POOLS, "interpolate", "upsample", "reflection_pad", "replication_pad", "circular_pad")
def _spatial(call: Call) -> Tracked:
    """Each channel alone: batch and channels stay, positions change."""
    x = call["input"]
    return Tracked([*x.lines[:2], *constants(call.shape[2:]).lines])


@rule("pad")
def _pad(call: Call) -> Tracked:
    """Equal numbers join an axis, free among themselves; other ways of padding need a fixed axis."""
    x, pad = call["input"], call.get("pad", call.get("padding"))
    pad = (pad,) * (2 * (len(x.lines) - 2)) if isinstance(pad, int) else tuple(pad)
    lines = list(x.lines)
    for back in range(len(pad) // 2):
        before, after = pad[2 * back : 2 * back + 2]
        axis = len(lines) - 1 - back
        if call.get("mode", "constant") != "constant" or min(before, after) < 0:
            fix(lines[axis])
        if is_fixed(lines[axis]):
            lines[axis] = constant(call.shape[axis])
        else:
            joined = fresh(before) + lines[axis] + fresh(after)
            lines[axis] = tuple(run for run in joined if run.size)
    return Tracked(lines)


@rule("pixel_shuffle")
def _pixel_shuffle(call: Call) -> Tracked:
    x = call["input"]
    out = fresh(call.shape[1])
    unify(channels(x), stretch(out, length(channels(x)) // call.shape[1]))
    return Tracked([x.lines[0], out, *constants(call.shape[2:]).lines])


@rule("einsum")
def _einsum(call: Call) -> Tracked:
    """Equal letters move together."""
    equation, *operands = (*call.arguments.values(), *call.extra)
    operands = list(operands[0]) if operands and isinstance(operands[0], (tuple, list)) else operands
    source, _, target = str(equation).replace(" ", "").partition("->")
    if "." in source or "->" not in str(equation):
        raise Opaque("an einsum with an ellipsis or without an arrow")
    known: dict[str, Line] = {}
    for letters, operand in zip(source.split(","), operands, strict=True):
        for letter, line in zip(letters, operand.lines, strict=True):
            unify(known.setdefault(letter, line), line)
    return Tracked([known[letter] for letter in target])
