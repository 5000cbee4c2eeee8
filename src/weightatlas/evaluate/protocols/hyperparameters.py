"""How networks were trained, as numbers to learn from."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.evaluate.protocols.stage import Stage


def recipe_features(there: Stage, part: str) -> Float[Tensor, "networks features"]:
    """Hyperparameters as numbers: text as one column per value of the training networks, none as -1.

    Args:
        there: A zoo.
        part: "train", "val" or "test".
    """
    columns = []
    for name in (n for n in there.part("train").table.names if n.startswith("hp.")):
        known, own = there.part("train").column(name), there.part(part).column(name)
        if known.dtype == object and any(isinstance(value, str) for value in known):
            columns += [own == value for value in sorted({str(v) for v in known})]
        else:
            columns.append(np.array([np.nan if v is None else float(v) for v in own]))
    return torch.from_numpy(np.stack(columns, axis=1).astype(np.float64)).nan_to_num(-1.0)
