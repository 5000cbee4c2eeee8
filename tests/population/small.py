"""Small networks with hand-made specs."""

import copy

import torch
from torch import nn

from weightatlas.weights.spec import NetworkSpec, Segment, TensorSpec


def role_of(name: str, network: nn.Module) -> str:
    """Tell the role of a tensor from the layer that owns it."""
    owner, _, leaf = name.rpartition(".")
    normal = isinstance(
        network.get_submodule(owner), nn.modules.batchnorm._BatchNorm | nn.LayerNorm | nn.GroupNorm
    )
    if leaf.startswith("running"):
        return leaf
    return {"weight": "norm_scale", "bias": "norm_shift"}[leaf] if normal else leaf


def spec_by_hand(network: nn.Module) -> NetworkSpec:
    """Describe a state dict with all axes fixed."""
    trainable = {name for name, _ in network.named_parameters(remove_duplicate=False)}
    tensors, layers, seen = [], [], {}
    state = network.state_dict(keep_vars=True)
    for name, value in state.items():
        seen.setdefault(id(value), []).append(name)
    for name, value in state.items():
        if value.is_floating_point() and seen[id(value)][0] == name:
            owner = name.rpartition(".")[0]
            layers += [owner] * (owner not in layers)
            axes = tuple((Segment(members=n),) for n in value.shape)
            tensors.append(
                TensorSpec(
                    name=name,
                    shape=tuple(value.shape),
                    role=role_of(name, network),
                    axes=axes,
                    layer=layers.index(owner),
                    trainable=name in trainable,
                    aliases=tuple(seen[id(value)][1:]),
                )
            )
    return NetworkSpec(tensors=tuple(tensors))


def plain() -> nn.Module:
    """Padding, max pooling, two convolutions, two dense layers."""
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 10), nn.Tanh(), nn.Linear(10, 5)),
    )


def dropped() -> nn.Module:
    """A dense network with dropout, and channel dropout behind a convolution."""
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3, stride=2), nn.Dropout2d(0.3), nn.GELU()),
        *(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 5)),
    )


class Residual(nn.Module):
    """Batch norm and a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.body, self.act = nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.ReLU()
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.stem(x)))
        return self.head(torch.flatten(self.pool(self.act(self.body(x) + x)), 1))


NETWORKS = {"plain": plain, "dropped": dropped, "residual": Residual}


def make(name: str) -> tuple[nn.Module, NetworkSpec]:
    """Build a test network and its spec."""
    network = NETWORKS[name]()
    return network, spec_by_hand(network)


def reference(network: nn.Module, spec: NetworkSpec, row: torch.Tensor) -> nn.Module:
    """Load one row into an ordinary copy of the network."""
    network = copy.deepcopy(network).to(row.dtype).eval()
    state = {
        n: row[s].detach().reshape(t.shape) for t in spec.tensors for n, s in [(t.name, spec.slices[t.name])]
    }
    network.load_state_dict(state, strict=False)
    return network


def toy_data(
    images: int = 96, classes: int = 5, size: int = 8
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Images whose class is the brightest of a few bars: learnable in a few steps."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, classes, (images + 40,), generator=generator)
    inputs = 0.3 * torch.randn(images + 40, 1, size, size, generator=generator)
    inputs[torch.arange(images + 40), 0, labels] += 1.5
    return {"train": (inputs[:images], labels[:images]), "test": (inputs[images:], labels[images:])}
