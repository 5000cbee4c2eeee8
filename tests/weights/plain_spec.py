"""A spec with all axes fixed, read off a module's state dict: enough to test representations."""

from torch import nn

from weightatlas.weights.spec import NetworkSpec, Segment, TensorSpec

_ROLES = {"running_mean": "running_mean", "running_var": "running_var"}


def plain_spec(network: nn.Module) -> NetworkSpec:
    tensors, layers = [], {}
    for name, value in network.state_dict().items():
        if not value.is_floating_point():
            continue
        stem, _, leaf = name.rpartition(".")
        owner = network.get_submodule(stem) if stem else network
        norm = isinstance(owner, nn.BatchNorm2d)
        role = (
            _ROLES.get(leaf)
            or {
                ("weight", False): "weight",
                ("bias", False): "bias",
                ("weight", True): "norm_scale",
                ("bias", True): "norm_shift",
            }[leaf, norm]
        )
        axes = tuple((Segment(members=n),) for n in value.shape)
        layer = layers.setdefault(stem, len(layers))
        tensors.append(
            TensorSpec(
                name=name,
                shape=tuple(value.shape),
                role=role,
                axes=axes,
                layer=layer,
                trainable=leaf not in _ROLES,
            )
        )
    return NetworkSpec(tensors=tuple(tensors))
