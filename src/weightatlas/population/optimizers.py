"""Optimizers that update many networks in place, each with its own learning rate and decay."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weightatlas.registry import Registry

Column = Float[Tensor, "networks one"]

optimizers: "Registry[Optimizer]" = Registry("optimizer")


class Optimizer(ABC):
    """State and update rule for rows of weights; equal to the `torch.optim` class of the same name.

    Rows are sorted by the caller so that a step may touch only the first `active` of them.

    Args:
        weights: Networks as rows, updated in place.
        lr: Learning rate per network, shape `(networks, 1)`.
        weight_decay: Decay per network, shape `(networks, 1)`.
        momentum: Momentum per network, shape `(networks, 1)`.
        trainable: Numbers that may change, shape `(params,)`, or none if all may.
    """

    def __init__(
        self,
        weights: Float[Tensor, "networks params"],
        lr: Column,
        weight_decay: Column,
        momentum: Column,
        trainable: Bool[Tensor, " params"] | None = None,
    ) -> None:
        self.weights, self.lr, self.decay, self.momentum = weights, lr, weight_decay, momentum
        self.keep = None if trainable is None else trainable.to(weights)
        self.decays, self.moves = bool((weight_decay != 0).any()), bool((momentum != 0).any())
        self.count = torch.zeros(len(weights), 1, dtype=torch.float64, device=weights.device)  # steps taken

    @torch.no_grad()
    def step(self, gradient: Float[Tensor, "active params"]) -> None:
        """Update the first `active` rows; `gradient` may be overwritten."""
        active = len(gradient)
        self.count[:active] += 1
        change = self.change(gradient, self.weights[:active], active)
        if self.keep is not None:
            change.mul_(self.keep)
        self.weights[:active].sub_(change)

    @abstractmethod
    def change(self, gradient: Tensor, weights: Tensor, active: int) -> Tensor:
        """Return what to subtract from the first `active` rows."""

    def _decayed(self, gradient: Tensor, weights: Tensor, active: int) -> Tensor:
        """Add the gradient of the squared norm, as SGD, Adam and RMSprop do."""
        return gradient.addcmul_(self.decay[:active], weights) if self.decays else gradient


@optimizers.register("sgd")
class SGD(Optimizer):
    """Gradient descent with momentum."""

    def __init__(self, *args: Tensor | None) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.velocity = torch.zeros_like(self.weights) if self.moves else None

    def change(self, gradient: Tensor, weights: Tensor, active: int) -> Tensor:
        gradient = self._decayed(gradient, weights, active)
        if self.velocity is None:
            return gradient.mul_(self.lr[:active])
        velocity = self.velocity[:active].mul_(self.momentum[:active]).add_(gradient)
        return torch.mul(velocity, self.lr[:active], out=gradient)


@optimizers.register("adam")
class Adam(Optimizer):
    """Adam (Kingma & Ba, 2015) with betas 0.9 and 0.999."""

    betas, epsilon, decoupled = (0.9, 0.999), 1e-8, False

    def __init__(self, *args: Tensor | None) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.first, self.second = torch.zeros_like(self.weights), torch.zeros_like(self.weights)

    def change(self, gradient: Tensor, weights: Tensor, active: int) -> Tensor:
        if not self.decoupled:
            gradient = self._decayed(gradient, weights, active)
        first = self.first[:active].lerp_(gradient, 1 - self.betas[0])
        second = (
            self.second[:active].mul_(self.betas[1]).addcmul_(gradient, gradient, value=1 - self.betas[1])
        )
        begun, seen = (1 - beta ** self.count[:active] for beta in self.betas)  # own steps of each network
        scale = torch.sqrt(second, out=gradient).mul_((seen**-0.5).to(weights)).add_(self.epsilon)
        change = torch.div(first, scale, out=gradient).mul_(self.lr[:active] / begun.to(weights))
        if self.decoupled and self.decays:
            change.addcmul_(self.lr[:active] * self.decay[:active], weights)
        return change


@optimizers.register("adamw")
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019)."""

    decoupled = True


@optimizers.register("rmsprop")
class RMSprop(Optimizer):
    """RMSprop with smoothing 0.99 and optional momentum."""

    smoothing, epsilon = 0.99, 1e-8

    def __init__(self, *args: Tensor | None) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.second = torch.zeros_like(self.weights)
        self.velocity = torch.zeros_like(self.weights) if self.moves else None

    def change(self, gradient: Tensor, weights: Tensor, active: int) -> Tensor:
        gradient = self._decayed(gradient, weights, active)
        second = self.second[:active].mul_(self.smoothing)
        second.addcmul_(gradient, gradient, value=1 - self.smoothing)
        update = gradient.div_(second.sqrt().add_(self.epsilon))
        if self.velocity is not None:
            update = self.velocity[:active].mul_(self.momentum[:active]).add_(update)
        return update * self.lr[:active]
