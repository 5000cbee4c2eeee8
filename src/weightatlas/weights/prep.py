"""PRep: all parameters of a network row by row in one matrix (NetSpace, Berardi et al., 2022)."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from weightatlas.config import Config
from weightatlas.errors import SpecError
from weightatlas.weights.fold import fold_norms, folds_of
from weightatlas.weights.spec import NetworkSpec


class PrepOverflow(SpecError):
    """A network has more parameters than its PRep has places. The released code cuts it off silently."""


class PrepConfig(Config):
    """Size of a PRep.

    Args:
        width: Parameters in a row; the published experiments use 10,000.
        height: Rows; none takes as few as hold the network. The published heights are 8 and 16 for one
            architecture and 88 for four.
    """

    width: int = Field(default=10_000, ge=1)
    height: int | None = Field(default=None, ge=1)


@dataclass(frozen=True, eq=False, slots=True)
class PrepLayout:
    """Where every parameter stands in the PRep of a spec: one after the other, in the spec's order.

    Args:
        slots: Parameter behind each place, -1 for padding, shape `(height, width)`.
        mask: True where a place holds a parameter, shape `(height, width)`.
        params: Parameters of the network.
    """

    slots: Int[Tensor, "height width"]
    mask: Bool[Tensor, "height width"]
    params: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.slots.shape[0], self.slots.shape[1]


@lru_cache(maxsize=64)
def layout(spec: NetworkSpec, config: PrepConfig = PrepConfig()) -> PrepLayout:  # noqa: B008 (frozen)
    """Lay the parameters of a spec out in rows; the result is shared between calls.

    Example:
        >>> from weightatlas.weights.spec import Segment, TensorSpec
        >>> axes = ((Segment(members=3),),)
        >>> spec = NetworkSpec(tensors=(TensorSpec(name="b", shape=(3,), role="bias", axes=axes, layer=0),))
        >>> layout(spec, PrepConfig(width=2)).slots.tolist()
        [[0, 1], [2, -1]]

    Args:
        spec: Layout of the network; batch norms should be folded before, see `folded`.
        config: Width and height.

    Raises:
        PrepOverflow: The network does not fit.
    """
    height = config.height or max(ceil(spec.params / config.width), 1)
    places = height * config.width
    if spec.params > places:
        raise PrepOverflow(
            f"A network of {spec.params:,} parameters does not fit into a PRep of {height} x "
            f"{config.width:,} = {places:,} places.",
            todo=f"Set height to at least {ceil(spec.params / config.width)}, or leave it out.",
        )
    slots = torch.full((places,), -1, dtype=torch.int32)
    slots[: spec.params] = torch.arange(spec.params, dtype=torch.int32)
    slots = slots.view(height, config.width)
    return PrepLayout(slots, slots >= 0, spec.params)


def to_prep(
    values: Float[Tensor, "networks params"], plan: PrepLayout
) -> Float[Tensor, "networks height width"]:
    """Bring networks to PReps; places without a parameter are zero.

    Parameters stand one after the other, so this is a copy of rows and no gather.

    Args:
        values: Networks as rows.
        plan: Layout of their spec.

    Raises:
        SpecError: The networks have another number of parameters.
    """
    if values.shape[1] != plan.params:
        raise SpecError(f"Networks have {values.shape[1]} numbers, the PRep was laid out for {plan.params}.")
    height, width = plan.shape
    padded = torch.nn.functional.pad(values, (0, height * width - plan.params))
    return padded.view(len(values), height, width)


def from_prep(
    prep: Float[Tensor, "networks height width"], plan: PrepLayout
) -> Float[Tensor, "networks params"]:
    """Read networks back, bit for bit; what stands behind the last parameter is ignored.

    Args:
        prep: PReps.
        plan: Layout of the spec to read.

    Raises:
        SpecError: The PReps have another size.
    """
    if tuple(prep.shape[1:]) != plan.shape:
        raise SpecError(f"PReps have shape {tuple(prep.shape[1:])}, the layout says {plan.shape}.")
    return prep.flatten(1)[:, : plan.params]


def folded(
    values: Float[Tensor, "networks params"], spec: NetworkSpec
) -> tuple[Float[Tensor, "networks folded"], NetworkSpec]:
    """Fold batch norms away where there are any: PReps never hold norms.

    Args:
        values: Networks as rows.
        spec: Their layout.

    Raises:
        SpecError: A batch norm stays, because it does not directly follow a layer of its own; or the spec
            has norms but no graph.
    """
    if all(tensor.role != "running_var" for tensor in spec.tensors):
        return values, spec
    folds = folds_of(spec)
    norms = sum(tensor.role == "running_var" for tensor in spec.tensors)
    if len(folds) < norms:
        raise SpecError(
            f"{norms - len(folds)} of {norms} batch norms cannot be folded into a layer before them.",
            todo="PReps hold weights and biases only: use another representation for these networks.",
        )
    return fold_norms(values, spec)
