"""Ridge regression in closed form: one eigendecomposition serves every regularization."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightatlas.errors import DataError

LAMBDAS = tuple(10.0 ** (power / 2) for power in range(10, -11, -1))
"""From 1e5 down to 1e-5 in half decades; covers the 17 values of the published probe."""


@dataclass(frozen=True, slots=True)
class Ridge:
    """A fitted linear map from features to targets.

    Args:
        mean: Mean of each feature over the training networks, shape `(features,)`.
        std: Its standard deviation; infinite for features that do not vary, which removes them.
        weight: Coefficients of the standardized features, shape `(features, targets)`.
        bias: Mean of each target, shape `(targets,)`.
        chosen: Regularization of each target, shape `(targets,)`.
        scores: R2 of each regularization, held-out or leave-one-out, shape `(lambdas, targets)`.
    """

    mean: Float[Tensor, " features"]
    std: Float[Tensor, " features"]
    weight: Float[Tensor, "features targets"]
    bias: Float[Tensor, " targets"]
    chosen: Float[Tensor, " targets"]
    scores: Float[Tensor, "lambdas targets"]

    def predict(self, features: Float[Tensor, "networks features"]) -> Float[Tensor, "networks targets"]:
        """Predict the targets of further networks, in float64."""
        if features.shape[1] != len(self.mean):
            raise DataError(
                f"The head knows {len(self.mean)} features, these networks have {features.shape[1]}."
            )
        return (features.double() - self.mean) / self.std @ self.weight + self.bias


def fit_ridge(
    features: Float[Tensor, "networks features"],
    targets: Float[Tensor, "networks targets"],
    validation: tuple[Tensor, Tensor] | None = None,
    lambdas: tuple[float, ...] = LAMBDAS,
) -> Ridge:
    """Fit ridge regression for every regularization at once and keep the best per target.

    Minimizes `|y - Xw - b|^2 + lambda |w|^2` on standardized features, b unregularized, in float64.
    The best lambda has the highest R2 on the validation networks, or leave-one-out without them.

    Example:
        >>> x = torch.arange(6.0)[:, None]
        >>> round(float(fit_ridge(x, 2 * x).predict(torch.tensor([[10.0]]))), 3)
        20.0

    Args:
        features: Embeddings of the training networks, shape `(networks, features)`.
        targets: Their properties, shape `(networks, targets)`.
        validation: Features and targets of held-out networks.
        lambdas: Regularizations to try.

    Raises:
        DataError: Fewer than two networks, or values that are not finite.
    """
    x, y = features.double(), targets.double()
    _check(x, y)
    mean, std = x.mean(0), x.std(0, correction=0)
    # float32 features that are constant up to rounding must not be blown up to unit variance.
    std = torch.where(std > 1e-6 * mean.abs() + 1e-12, std, torch.inf)
    bias = y.mean(0)
    x = (x - mean) / std
    basis, values, coordinates, left = _decompose(x, y - bias)
    shrunk = 1 / (values + torch.tensor(lambdas, dtype=x.dtype, device=x.device)[:, None])
    solutions = shrunk[:, :, None] * coordinates
    if validation is None:
        scores = _leave_one_out(x @ basis, left, shrunk, solutions, y - bias)
    else:
        _check(validation[0], validation[1], least=1)
        held = (validation[0].double() - mean) / std @ basis
        scores = _r2(held @ solutions + bias, validation[1].double())
    best = scores.argmax(0)
    weight = basis @ solutions.permute(2, 0, 1)[torch.arange(y.shape[1]), best].T
    chosen = torch.tensor(lambdas, dtype=x.dtype)[best.cpu()]
    return Ridge(mean, std, weight, bias, chosen, scores)


def _decompose(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Diagonalize the smaller of the two Gram matrices.

    Returns:
        `basis`, `values`, `coordinates`, `left` such that the solution is `basis @ (coordinates / (values +
        lambda))` and the hat matrix has diagonal `sum(x @ basis * left / (values + lambda))`.
    """
    if x.shape[0] <= x.shape[1]:
        values, vectors = torch.linalg.eigh(x @ x.T)
        return x.T @ vectors, values.clamp_min(0), vectors.T @ y, vectors
    values, vectors = torch.linalg.eigh(x.T @ x)
    return vectors, values.clamp_min(0), vectors.T @ (x.T @ y), x @ vectors


def _leave_one_out(projected: Tensor, left: Tensor, shrunk: Tensor, solutions: Tensor, y: Tensor) -> Tensor:
    """R2 of predicting each training network from all others, by the hat-matrix identity."""
    hat = (projected * left) @ shrunk.T + 1 / len(y)
    residual = (y - projected @ solutions) / (1 - hat.T).clamp_min(1e-10)[:, :, None]
    return _r2(y - residual, y)


def _r2(predicted: Tensor, true: Tensor) -> Tensor:
    """R2 per regularization and target; a constant target gets its negative squared error."""
    total = (true - true.mean(0)).square().sum(0)
    error = (predicted - true).square().sum(1)
    return torch.where(total > 0, 1 - error / total, -error)


def _check(features: Tensor, targets: Tensor, least: int = 2) -> None:
    """Refuse inputs no line can be fitted to."""
    if features.ndim != 2 or targets.ndim != 2 or len(features) != len(targets):
        shapes = f"{tuple(features.shape)} and {tuple(targets.shape)}"
        raise DataError(f"Features and targets have shapes {shapes}; both need a row per network.")
    if len(features) < least:
        raise DataError(f"A ridge probe needs at least {least} networks, there are {len(features)}.")
    for name, values in (("features", features), ("targets", targets)):
        bad = int((~torch.isfinite(values).all(1)).sum())
        if bad:
            raise DataError(
                f"{bad} of {len(values)} networks have {name} that are NaN or infinite.",
                todo="Leave out networks whose training diverged.",
            )
