"""Names of operations: one word for a module, a function and a method that do the same."""

import re
from typing import Any

import torch
from torch import Tensor, fx, nn

from weightatlas.weights.spec import Role

_SIGNATURES = {
    "linear": "input weight bias",
    "bilinear": "input1 input2 weight bias",
    "conv1d conv2d conv3d": "input weight bias stride padding dilation groups",
    "conv_transpose1d conv_transpose2d conv_transpose3d": (
        "input weight bias stride padding output_padding groups dilation"
    ),
    "batch_norm": "input running_mean running_var weight bias training momentum eps",
    "instance_norm": "input running_mean running_var weight bias use_input_stats momentum eps",
    "layer_norm": "input normalized_shape weight bias eps",
    "rms_norm": "input normalized_shape weight eps",
    "group_norm": "input num_groups weight bias eps",
    "prelu": "input weight",
    "embedding": "input weight padding_idx",
    "multihead_attention": "query key value key_padding_mask need_weights attn_mask",
    "scaled_dot_product_attention": "query key value attn_mask dropout_p is_causal",
    "matmul bmm mm": "input other",
    "glu softmax log_softmax softmin cumsum cumprod argmax argmin unbind flip": "input dim",
    "mean sum amax amin var std prod all any logsumexp": "input dim keepdim",
    "max min median sort": "input dim keepdim",
    "norm vector_norm": "input p dim keepdim",
    "leaky_relu": "input negative_slope",
    "elu celu": "input alpha",
    "max_pool1d max_pool2d max_pool3d": "input kernel_size stride padding dilation ceil_mode return_indices",
    "avg_pool1d avg_pool2d avg_pool3d": (
        "input kernel_size stride padding ceil_mode count_include_pad divisor_override"
    ),
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d": "input output_size",
    "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d": "input output_size return_indices",
    "pad": "input pad mode value",
    "permute": "input dims",
    "transpose swapaxes": "input dim0 dim1",
    "cat concat concatenate stack": "tensors dim",
    "chunk split tensor_split": "input sections dim",
    "narrow": "input dim start length",
    "select": "input dim index",
    "getitem": "input index",
    "interpolate": "input size scale_factor mode",
    "dropout alpha_dropout feature_dropout": "input p training",
}
SIGNATURES = {name: text.split() for names, text in _SIGNATURES.items() for name in names.split()}

_ALIASES = {
    "p_relu": "prelu",
    "constant_pad": "pad",
    "zero_pad": "pad",
    "truediv": "div",
    "divide": "div",
    "multiply": "mul",
    "subtract": "sub",
    "concat": "cat",
    "concatenate": "cat",
    "conv_transpose": "conv_transpose",
    "clip": "clamp",
    "negative": "neg",
    "logsigmoid": "log_sigmoid",
    "non_dynamically_quantizable_linear": "linear",
}
IDENTITIES = {"identity", "dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"}
IDENTITIES |= {"contiguous", "clone", "detach"}
TENSOR_ARGUMENTS = {"weight", "bias", "running_mean", "running_var"}
_SHAPE_ONLY = {"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as"}

# Settings of `torch.nn` modules that make up a function: these and no others stand in function ids, which
# must not change with the version of torch. A test holds every setting of every module against all lists.
_SETTINGS = """
    align_corners alpha approximate batch_first beta bias bidirectional blank ceil_mode count_include_pad
    delta dilation dim divisor_override downscale_factor dropout eps full groups hidden_size ignore_index
    include_last_offset input_size k keepdim kernel_size label_smoothing lambd log_input lower margin max_norm
    max_val min_val mode name negative_slope nonlinearity norm norm_first norm_type normalized_shape
    num_classes num_groups num_layers output_padding output_ratio output_size p padding padding_idx
    padding_mode proj_size recompute_scale_factor reduction return_indices scale_factor size stride swap
    threshold unflattened_size upper upscale_factor value
"""
SETTINGS = frozenset(_SETTINGS.split())
# Settings that modules do not name among their constants.
MORE_SETTINGS = {
    nn.MultiheadAttention: ("num_heads", "add_zero_attn"),
    nn.modules.padding._ConstantPadNd: ("value",),
    nn.modules.pooling._MaxUnpoolNd: ("kernel_size", "stride", "padding"),
    nn.CrossMapLRN2d: ("size", "alpha", "beta", "k"),
}
# Settings that follow from tensor shapes, or mean nothing in eval mode. Calls keep all others, since
# their names are those the user wrote, of any function there is.
UNNEEDED = {
    *("inplace", "dropout_p", "momentum", "track_running_stats", "affine", "elementwise_affine"),
    *("in_features", "out_features", "in_channels", "out_channels", "num_features", "num_channels", "device"),
    *("num_embeddings", "embedding_dim", "sparse", "scale_grad_by_freq", "dtype", "_stacklevel"),
    *("in1_features", "in2_features", "num_parameters", "start_dim", "end_dim"),
}


def name_of_module(module: nn.Module) -> str:
    """Name the operation of a module of `torch.nn`.

    Example:
        >>> name_of_module(nn.BatchNorm2d(3)), name_of_module(nn.LeakyReLU())
        ('batch_norm', 'leaky_relu')
    """
    text = type(module).__name__
    for word in ("ReLU", "SiLU", "CELU", "SELU", "GELU", "ELU", "GLU", "RMS"):
        text = text.replace(word, word.capitalize())
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", text).lower()
    if not text.startswith("conv") and "pool" not in text:
        text = re.sub(r"\d+d$", "", text)
    return _ALIASES.get(text, text)


def name_of_function(target: Any) -> str:
    """Name the operation of a function or method called on a tensor.

    Example:
        >>> name_of_function(torch.nn.functional.relu_), name_of_function("__iadd__")
        ('relu', 'add')
    """
    text = target if isinstance(target, str) else getattr(target, "__name__", str(target))
    text = text.strip("_").removeprefix("special_").removeprefix("linalg_")
    if text in ("iadd", "isub", "imul", "itruediv"):
        text = text[1:]
    return _ALIASES.get(text, text)


def bind(op: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Name the positional arguments of an operation as far as names are known.

    Returns:
        Arguments by name, and the positional ones left over.
    """
    names = SIGNATURES.get(op, ["input"])
    if op == "permute" and len(args) > 2:
        args = (args[0], tuple(args[1:]))
    named = dict(zip(names, args, strict=False))
    return {**named, **kwargs}, list(args[len(names) :])


def in_order(op: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """List the arguments of an operation; those written as keywords stand where the signature has them."""
    places = {name: place for place, name in enumerate(SIGNATURES.get(op, []))}
    return [*args, *(kwargs[name] for name in sorted(kwargs, key=lambda name: places.get(name, len(places))))]


def writes_over(n: fx.Node, module: nn.Module | None) -> bool:
    """Tell whether an operation changes its input in place although others read it, too."""
    name = str(n.target) if isinstance(n.target, str) else getattr(n.target, "__name__", "")
    method = name in ("iadd", "isub", "imul", "itruediv") or (name.endswith("_") and name[-2:] != "__")
    inplace = getattr(module, "inplace", False) if module else n.kwargs.get("inplace", method)
    return bool(inplace) and any(len(source.users) > 1 for source in n.all_input_nodes[:1])


def attributes_of_module(module: nn.Module) -> dict[str, Any]:
    """Collect the settings of a `torch.nn` module that change what it computes in eval mode."""
    names = SETTINGS & set(getattr(module, "__constants__", ())) - UNNEEDED
    names |= {name for kind, more in MORE_SETTINGS.items() if isinstance(module, kind) for name in more}
    if isinstance(module, nn.Embedding) and module.max_norm is None:
        names -= {"max_norm", "norm_type"}
    if isinstance(module, (nn.TransformerEncoder, nn.TransformerEncoderLayer)):
        first: Any = module.layers[0] if isinstance(module, nn.TransformerEncoder) else module
        own = first.self_attn
        heads = {"num_heads": own.num_heads, "num_layers": getattr(module, "num_layers", 1)}
        # Neither is part of what such a layer prints.
        heads |= {"activation": plain_name(first.activation), "batch_first": own.batch_first}
        return {**heads, "code": repr(module), "norm_first": first.norm_first}
    if isinstance(module, (nn.Transformer, nn.TransformerDecoder, nn.TransformerDecoderLayer)):
        return {"code": repr(module), "parts": _unprinted(module)}
    if name_of_module(module) in _SHAPE_ONLY:
        return {}
    if name_of_module(module) in ("conv1d", "conv2d", "conv3d"):
        names -= {"output_padding"}
    return {name: plain(getattr(module, name)) for name in sorted(names) if hasattr(module, name)}


def _unprinted(module: nn.Module) -> list[Any]:
    """List what the layers of a transformer do not print."""
    found = []
    for part in module.modules():
        if isinstance(part, nn.MultiheadAttention):
            found.append([part.num_heads, part.batch_first])
        if isinstance(part, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)):
            found.append([plain_name(part.activation), part.norm_first])
    return found


def attributes_of_call(op: str, arguments: dict[str, Any], extra: list[Any]) -> dict[str, Any]:
    """Collect the settings of a function call; tensors are left out."""
    if op in _SHAPE_ONLY:
        return {}
    found = {
        name: plain(value)
        for name, value in arguments.items()
        if name not in UNNEEDED and not holds_node(value) and value is not None
        if not _changes_nothing(op, name, arguments)
    }
    if extra and not all(holds_node(value) for value in extra):
        found["arguments"] = [None if holds_node(value) else plain(value) for value in extra]
    return dict(sorted(found.items()))


def _changes_nothing(op: str, name: str, arguments: dict[str, Any]) -> bool:
    """Tell whether a setting has the value that it has when it is not given."""
    if name == "norm_type":
        return op == "embedding" and arguments.get("max_norm") is None
    if name == "training":
        return not arguments[name]
    return (op, name) == ("normalize", "p") and arguments[name] == 2


def holds_node(value: Any) -> bool:
    """Tell whether an argument is or contains the output of another operation."""
    if isinstance(value, (tuple, list)):
        return any(holds_node(item) for item in value)
    return isinstance(value, fx.Node)


def plain_name(function: Any) -> str:
    """Name a function, or print a module."""
    return repr(function) if isinstance(function, nn.Module) else getattr(function, "__name__", str(function))


def plain(value: Any) -> Any:
    """Turn a setting into JSON-like data."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, slice):
        return [plain(value.start), plain(value.stop), plain(value.step)]
    if isinstance(value, torch.Tensor):
        return value.tolist()
    return str(value)


def role_of(op: str, argument: str, name: str, tensor: Tensor) -> Role:
    """Name what a tensor does for the operation that first uses it."""
    owner, _, argument = argument.rpartition(".")
    if argument in ("running_mean", "running_var"):
        return argument
    if op.endswith("_norm") or re.search(r"norm\d*$", owner):
        return "norm_scale" if argument == "weight" else "norm_shift"
    if op == "embedding":
        return "embedding"
    if op in ("prelu", "parameter", "unused") or not isinstance(tensor, nn.Parameter):
        return "position" if "pos" in name.rpartition(".")[2].lower() else "other"
    if "bias" in argument:
        return "bias"
    return "weight" if "weight" in argument else "other"


def describe_reshape(
    op: str, shape: tuple[int, ...], attributes: dict[str, Any], batch: int
) -> tuple[str, dict[str, Any]]:
    """Describe a reshape by what comes out, the batch axis left open."""
    if op in ("expand", "repeat"):
        return op, {**attributes, "shape": list(shape[1:])}
    if shape[0] == batch and len(shape) == 2:
        return "flatten", {"dims": [1, -1]}
    return "reshape", {"shape": [-1 if shape[0] == batch else shape[0], *shape[1:]]}
