"""Batch-norm folding: (weights, spec) -> (weights, spec) of the same function without the norm."""

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightatlas.errors import SpecError
from weightatlas.weights.spec import NetworkSpec, Node, TensorSpec
from weightatlas.weights.vector import flatten, unflatten

_OUT_AXIS = {"linear": 0, "conv1d": 0, "conv2d": 0, "conv3d": 0}
_OUT_AXIS |= {"conv_transpose1d": 1, "conv_transpose2d": 1, "conv_transpose3d": 1}


@dataclass(frozen=True)
class Fold:
    """One batch norm and the layer it can be folded into.

    Args:
        layer: Node of the layer.
        norm: Node of the batch norm.
        weight: Tensor index of the layer's weight.
        bias: Tensor index of the layer's bias, or none if it has none yet.
        tensors: Tensor index of the norm's scale, shift, mean and variance, by role.
        axis: Axis of the weight that holds the outputs.
        eps: Added to the variance.
    """

    layer: int
    norm: int
    weight: int
    bias: int | None
    tensors: dict[str, int]
    axis: int
    eps: float

    @property
    def removed(self) -> set[int]:
        return set(self.tensors.values())


def fold_norms(
    values: Float[Tensor, "networks params"], spec: NetworkSpec
) -> tuple[Float[Tensor, "networks folded"], NetworkSpec]:
    """Fold every batch norm that directly follows a convolution or linear layer into it.

    In eval mode `norm(Wx + b) = (sWx) + (b - mean) s + shift` with `s = scale / sqrt(var + eps)`. All
    networks at once; norms that follow anything else (or a layer used twice) stay.

    Args:
        values: Networks as rows.
        spec: Their layout, with a graph.

    Returns:
        The folded networks and their spec: what `spec_of` finds for `fold_network`.

    Raises:
        SpecError: The spec has no graph, or the weights do not fit it.
    """
    folds = folds_of(spec)
    named: dict[str, Tensor] = unflatten(values, spec)
    for fold in folds:
        _fold_one(named, spec, fold)
    folded = _folded_spec(spec, folds)
    pieces = [named[tensor.name].reshape(len(values), -1) for tensor in folded.tensors]
    return torch.cat(pieces, dim=1) if pieces else values, folded


def fold_network(network: nn.Module, spec: NetworkSpec) -> nn.Module:
    """Copy a network with its batch norms folded; the copy runs the rows of `fold_norms`.

    Args:
        network: The module `spec` describes; it is not changed.
        spec: Its spec.

    Raises:
        SpecError: A layer or norm is not a module of its own.
    """
    result = copy.deepcopy(network).eval()
    state = result.state_dict()
    values, folded = fold_norms(flatten([state], spec), spec)
    named = unflatten(values[0], folded)
    for fold in folds_of(spec):
        layer = result.get_submodule(_owner(spec.tensors[fold.weight]))
        norm = _owner(spec.tensors[fold.tensors["running_mean"]])
        if fold.bias is None:
            layer.register_parameter("bias", nn.Parameter(named[_bias_name(spec, fold)].clone()))
        if not isinstance(result.get_submodule(norm), nn.modules.batchnorm._BatchNorm):
            raise SpecError(f"'{norm}' is not a batch-norm module.", todo="Fold the weights with fold_norms.")
        parent, _, name = norm.rpartition(".")
        setattr(result.get_submodule(parent), name, nn.Identity())
    with torch.no_grad():
        for name, tensor in result.state_dict().items():
            if name in named:
                tensor.copy_(named[name])
    return result


def folds_of(spec: NetworkSpec) -> list[Fold]:
    """List the batch norms that can be folded.

    Raises:
        SpecError: The spec has no graph.
    """
    if spec.graph is None:
        raise SpecError(
            "The spec has no layer graph.", todo="Make it from code with spec_of(network, shape)."
        )
    readers: dict[int, int] = {}
    owners: dict[int, int] = {}
    for node in spec.graph:
        for place in node.inputs:
            readers[place] = readers.get(place, 0) + 1
        for tensor in node.tensors:
            owners[tensor] = owners.get(tensor, 0) + 1
    found = []
    for place, node in enumerate(spec.graph):
        source = node.inputs[0] if node.inputs else None
        if node.op == "batch_norm" and source is not None and readers[source] == 1:
            fold = _fold_of(spec, source, place)
            tensors = (*node.tensors, *spec.graph[source].tensors)
            if fold is not None and all(owners[tensor] == 1 for tensor in tensors):
                found.append(fold)
    return found


def _fold_of(spec: NetworkSpec, source: int, place: int) -> Fold | None:
    """Describe one fold, or none where the norm's channels are not the layer's outputs."""
    assert spec.graph is not None
    layer, norm = spec.graph[source], spec.graph[place]
    roles = {spec.tensors[tensor].role: tensor for tensor in norm.tensors}
    by_role = {spec.tensors[tensor].role: tensor for tensor in layer.tensors}
    stacked = layer.op == "linear" and norm.attributes.get("rank") != 2
    grouped = layer.op.startswith("conv_transpose") and layer.attributes.get("groups", 1) != 1
    computed = len(layer.inputs) + len(norm.inputs) > 2  # a bias or scale made by other operations
    if layer.op not in _OUT_AXIS or "weight" not in by_role or stacked or grouped or computed:
        return None
    if not {"running_mean", "running_var"} <= set(roles) or norm.attributes.get("training"):
        return None
    return Fold(
        layer=source,
        norm=place,
        weight=by_role["weight"],
        bias=by_role.get("bias"),
        tensors=dict(roles),
        axis=_OUT_AXIS[layer.op],
        eps=float(norm.attributes.get("eps", 1e-5)),
    )


def _fold_one(named: dict[str, Tensor], spec: NetworkSpec, fold: Fold) -> None:
    """Fold one norm of all networks, in place of the layer's tensors."""
    norm = {role: named[spec.tensors[tensor].name] for role, tensor in fold.tensors.items()}
    scale = (norm["running_var"] + fold.eps).rsqrt()
    if "norm_scale" in norm:
        scale = scale * norm["norm_scale"]
    weight = spec.tensors[fold.weight]
    shape = [1] * len(weight.shape)
    shape[fold.axis] = -1
    named[weight.name] = named[weight.name] * scale.view(len(scale), *shape)
    old = 0.0 if fold.bias is None else named[spec.tensors[fold.bias].name]
    shift = norm.get("norm_shift", 0.0)
    named[_bias_name(spec, fold)] = (old - norm["running_mean"]) * scale + shift


def _folded_spec(spec: NetworkSpec, folds: list[Fold]) -> NetworkSpec:
    """Write the spec without the folded norms, with the biases they left behind."""
    removed = {tensor for fold in folds for tensor in fold.removed}
    new_bias = {fold.weight: fold for fold in folds if fold.bias is None}
    tensors: list[TensorSpec] = []
    places: dict[int, int] = {}
    born: dict[int, int] = {}
    for index, tensor in enumerate(spec.tensors):
        if index not in removed:
            places[index] = len(tensors)
            tensors.append(tensor)
        if index in new_bias:
            fold = new_bias[index]
            born[fold.layer] = len(tensors)
            size, axis = tensor.shape[fold.axis], tensor.axes[fold.axis]
            bias = TensorSpec(
                name=_bias_name(spec, fold), shape=(size,), role="bias", axes=(axis,), layer=tensor.layer
            )
            tensors.append(bias)
    layers = {layer: number for number, layer in enumerate(sorted({tensor.layer for tensor in tensors}))}
    return NetworkSpec(
        tensors=tuple(tensor.replace(layer=layers[tensor.layer]) for tensor in tensors),
        groups=spec.groups,
        graph=_folded_graph(spec, folds, places, born),
        input_shape=spec.input_shape,
    )


def _folded_graph(
    spec: NetworkSpec, folds: list[Fold], places: dict[int, int], born: dict[int, int]
) -> tuple[Node, ...]:
    """Write the graph without the folded norms; their readers read the layer."""
    graph: list[Node] = []
    moved: dict[int, int] = {}
    source = {fold.norm: fold.layer for fold in folds}
    for place, node in enumerate(spec.graph or ()):
        if place in source:
            moved[place] = moved[source[place]]
            continue
        moved[place] = len(graph)
        tensors = [places[tensor] for tensor in node.tensors]
        if place in born:
            tensors.append(born[place])
        inputs = tuple(moved[old] for old in node.inputs)
        graph.append(Node(op=node.op, inputs=inputs, attributes=node.attributes, tensors=tuple(tensors)))
    return tuple(graph)


def _owner(tensor: TensorSpec) -> str:
    """Path of the module a tensor belongs to."""
    return tensor.name.rpartition(".")[0]


def _bias_name(spec: NetworkSpec, fold: Fold) -> str:
    """Name of a layer's bias, whether it exists already or not."""
    if fold.bias is not None:
        return spec.tensors[fold.bias].name
    return f"{_owner(spec.tensors[fold.weight])}.bias".lstrip(".")
