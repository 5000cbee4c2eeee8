"""DWSNet: deep weight-space networks for perceptrons (Navon et al., 2023)."""

from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from weightatlas.config import Config
from weightatlas.encoders.base import encoders
from weightatlas.encoders.dws_layer import DwsLayer, Reduction, SetKind, reduce
from weightatlas.encoders.neural_functional import FunctionalConfig, FunctionalEncoder
from weightatlas.errors import SpecError, gather
from weightatlas.weights.spec import NetworkSpec


class DwsConfig(FunctionalConfig):
    """Settings of DWSNet.

    Args:
        hidden: Channels per number.
        layers: Layers after the first.
        set_layer: "sab" for attention between neurons, "ds" for linear maps of sets.
        reduction: How axes are pooled.
        heads: Attention heads; the last layer has one, as in the released code.
        diagonal: Leave out the maps between blocks that share no neurons.
        norm: Batch norm per block between layers.
        dropout: Probability of dropping a feature; the released code goes on dropping in evaluation.
    """

    hidden: int = Field(default=32, ge=1)
    layers: int = Field(default=4, ge=1)
    set_layer: SetKind = "sab"
    reduction: Reduction = "max"
    heads: int = Field(default=8, ge=1)
    diagonal: bool = False
    norm: bool = True
    dropout: float = Field(default=0.0, ge=0, lt=1)


@encoders.register("dws")
class Dws(FunctionalEncoder):
    """DWSNet; accepts plain perceptrons of three layers or more, every layer with a bias.

    Args:
        config: Settings.
        spec: Layout of the networks, with its permutation groups.
    """

    Settings: ClassVar[type[Config]] = DwsConfig
    name = "dws"

    def __init__(self, config: DwsConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config, spec)
        assert spec is not None
        check_perceptron(spec)
        self.chosen = config
        layers = tuple(spec.tensors[block.tensor].layer for block in self.layout.blocks)
        widths = (self.channels, *[config.hidden] * (config.layers + 1))
        self.layers = nn.ModuleList(
            DwsLayer(
                self.layout,
                layers,
                before,
                after,
                config.set_layer,
                config.reduction,
                config.heads if index < config.layers else 1,
                config.diagonal,
            )
            for index, (before, after) in enumerate(pairwise(widths))
        )
        count = len(self.layout.blocks) if config.norm else 0
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm1d(config.hidden) for _ in range(count)) for _ in range(config.layers)
        )

    def describe(self, values: Float[Tensor, "networks params"]) -> Float[Tensor, "networks dim"]:
        """Pool the features of networks over all permuted axes."""
        x = self.inputs(values)
        for index, layer in enumerate(self.layers):
            if index:
                x = [self._between(index - 1, b, value) for b, value in enumerate(x)]
            x = layer(x)
        dropout = self.chosen.dropout if self.training else 0.0
        x = [F.dropout(torch.relu(value), dropout) for value in x]
        return torch.cat([reduce(v, range(1, v.ndim - 1), self.chosen.reduction) for v in x], dim=-1)

    def _between(self, index: int, block: int, value: Tensor) -> Tensor:
        """Norm, ReLU and dropout of one block."""
        norms = self.norms[index]
        assert isinstance(norms, nn.ModuleList)
        if self.chosen.norm:
            value = norms[block](value.reshape(-1, self.chosen.hidden)).view(value.shape)
        return F.dropout(torch.relu(value), self.chosen.dropout, self.training)


def check_perceptron(spec: NetworkSpec) -> None:
    """Refuse networks that are not plain perceptrons of three layers or more.

    Raises:
        SpecError: With one line per problem.
    """
    problems = []
    before: int | None = None
    last = len(spec.layers) - 1
    if last < 2:
        problems.append(f"it has {last + 1} layers, DWSNet needs three")
    for layer, members in enumerate(spec.layers):
        tensors = [spec.tensors[index] for index in members]
        name = tensors[0].name.rpartition(".")[0]
        if [tensor.role for tensor in tensors] != ["weight", "bias"] or len(tensors[0].shape) != 2:
            problems.append(f"layer '{name}' is not a dense layer with a bias")
            continue
        groups = [[segment.group for segment in axis] for axis in (*tensors[0].axes, *tensors[1].axes)]
        rows, columns, biases = groups
        chained = columns == [before] and rows == biases and len(rows) == 1
        if not chained or (rows[0] is None) != (layer == last):
            problems.append(f"the neurons of layer '{name}' do not feed exactly the next layer")
        before = rows[0]
    todo = "Use nfn_hnp, nfn_np or nft, which accept any traced network."
    gather(SpecError, problems, where="The encoder 'dws' accepts plain perceptrons.", todo=todo)
