"""Encoder and loss as one module, its optimizer, and running means of what is logged."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from weightatlas.encoders.base import Autoencoder, Decoded, Encoded, Encoder
from weightatlas.encoders.blocks import Stack
from weightatlas.fit.config import FitConfig
from weightatlas.objectives.composite import Composite
from weightatlas.objectives.step import Step
from weightatlas.objectives.views import Views
from weightatlas.population.forward import Population
from weightatlas.processes import ALONE, Processes, launched
from weightatlas.weights.batch import Batch

log = logging.getLogger("weightatlas")


class Training(nn.Module):
    """One forward pass of training: encode, decode where needed, compute the loss.

    Args:
        encoder: The encoder in training.
        loss: Its loss.
        population: Executes decoded networks, or none if no term needs it.
    """

    def __init__(self, encoder: Encoder, loss: Composite, population: Population | None) -> None:
        super().__init__()
        self.encoder, self.loss = encoder, loss
        self.population = population

    def forward(
        self, views: Sequence[Views], processes: Processes = ALONE, networks: int = 0, **given: Any
    ) -> dict[str, Tensor]:
        """Compute "loss" and the raw terms, of all processes that share the step.

        Args:
            views: As for `step`: the part of this process.
            processes: Those that share the step.
            networks: How many networks it has in all of them, if there are several.
            given: Further arguments of `step`.
        """
        step = self.step(views, **given)
        return self.loss(replace(step, processes=processes, networks=networks))

    def step(
        self,
        views: Sequence[Views],
        generator: torch.Generator | None = None,
        queries: Tensor | None = None,
        targets: Tensor | None = None,
        labels: dict[str, Tensor] | None = None,
    ) -> Step:
        """Encode networks, and decode them where the loss needs it.

        Args:
            views: One entry per spec; several only for a loss that mixes specs.
            generator: Source of the choice of a part, for encoders that train on parts.
            queries: Inputs on which networks are executed.
            targets: Outputs of the originals on them.
            labels: Property name -> numbers, spec after spec.
        """
        encoded, decoded = self._encoded(views, generator)
        return Step(
            weights=views[0].clean,
            encoder=self.encoder,
            encoded=encoded,
            decoded=decoded,
            views=views[0].count,
            queries=queries,
            targets=targets,
            population=self.population,
            labels=labels or {},
            predictions=None if self.loss.head is None else self.loss.head(encoded.embedding),
        )

    def _encoded(
        self, views: Sequence[Views], generator: torch.Generator | None
    ) -> tuple[Encoded, Decoded | None]:
        if self.loss.needs_decoded and isinstance(self.encoder, Autoencoder):
            whole = self.loss.needs_queries or not self.training
            return self.encoder(views[0].inputs, whole=whole, generator=generator)
        if len(views) == 1:
            return self.encoder.encode(views[0].inputs), None
        parts = self.encoder.encode_groups([view.inputs for view in views])
        sizes = [len(view.inputs) for view in views]
        each = [part.chunk(view.count) for part, view in zip(parts.split(sizes), views, strict=True)]
        # View-major over all specs: the first views of all networks, then the second ones.
        embedding = torch.cat([view for place in zip(*each, strict=True) for view in place])
        mask = torch.ones(len(embedding), 1, dtype=torch.bool, device=embedding.device)
        return Encoded(embedding[:, None], mask, embedding), None

    def prepared(self, config: FitConfig, device: torch.device) -> Any:
        """Return the forward pass in the precision of the run, compiled if asked for."""
        if config.compile:
            _compile(self.encoder)
        precise = config.precision == "fp32" or (config.precision == "auto" and device.type != "cuda")
        return self if precise else _accelerated(self, device)


def _accelerated(module: nn.Module, device: torch.device) -> nn.Module:
    """Let accelerate run the forward pass in bf16."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # One process may train on several devices, one after the other.
    accelerator = Accelerator(mixed_precision="bf16", cpu=device.type == "cpu")
    # Gradients are added up by the loop: only the precision is accelerate's.
    return accelerator.prepare_model(module, evaluation_mode=launched() > 1)


def _compile(encoder: Encoder) -> None:
    """Compile the transformers inside an encoder; without a working compiler they run as they are."""
    stacks = [module for module in encoder.modules() if isinstance(module, Stack)]
    try:
        for stack in stacks:
            stack.compile(dynamic=True)
            width, dim = stack.enter.in_features, stack.enter.out_features
            device = stack.enter.weight.device
            stack(
                torch.zeros(2, 3, width, device=device), torch.zeros(3, dim, device=device)
            ).sum().backward()
            stack.zero_grad()
    except Exception as error:  # Whatever a missing compiler raises: the run must go on.
        log.warning("torch.compile does not work here, training goes on without it: %s", str(error)[:200])
        for stack in stacks:
            stack._compiled_call_impl = None


def optimizer_of(module: nn.Module, config: FitConfig) -> torch.optim.Optimizer:
    """Make AdamW that decays only parameters with two axes or more (not biases, not norms)."""
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.lr, betas=(0.9, 0.999), fused=True)


class Means:
    """Running means over the steps of a pass; the state is plain numbers."""

    def __init__(self) -> None:
        self.state: dict[str, Sequence[float]] = {}

    def add(self, values: dict[str, Tensor], weight: int) -> None:
        """Add one step that counts as often as it has networks."""
        names = list(values)
        numbers = torch.stack([values[name].detach().float().cpu() for name in names]).tolist()
        for name, number in zip(names, numbers, strict=True):
            total, count = self.state.get(name, (0.0, 0))
            self.state[name] = [total + number * weight, count + weight]

    def take(self) -> dict[str, float]:
        """Return the means and start again."""
        means = {name: total / count for name, (total, count) in self.state.items()}
        self.state = {}
        return means


def fingerprint(batch: Batch) -> str:
    """Hash the training networks, to refuse to continue a run on others."""
    digest = hashlib.blake2b(digest_size=16)
    for group in batch:
        digest.update(group.spec.layout_id.encode())
        digest.update(_numbers(group.values))
    return digest.hexdigest()


def digest_of(inputs: Tensor) -> str:
    """Hash queries, for the same purpose."""
    return hashlib.blake2b(_numbers(inputs), digest_size=16).hexdigest()


def _numbers(values: Tensor) -> memoryview:
    """Bytes of a tensor; on the CPU no copy, it may be mapped."""
    return values.detach().cpu().contiguous().numpy().data
