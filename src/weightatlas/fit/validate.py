"""Validation during training: the same terms on networks that are not trained on."""

from typing import Any

import torch
from torch import Tensor

from weightatlas.encoders.base import Autoencoder
from weightatlas.fit.config import FitConfig
from weightatlas.fit.training import Training
from weightatlas.objectives.views import ViewConfig, make_views
from weightatlas.runtime import generator_of
from weightatlas.weights.batch import Batch, Weights

QUERIES = 512


class Validation:
    """Computes every term, and agreement if networks are executed, on fixed views and queries.

    Args:
        training: Encoder, loss and population.
        batch: Validation networks, on the device of the training.
        config: Settings of the run.
        queries: Query pool of the run, or none.
    """

    def __init__(self, training: Training, batch: Batch, config: FitConfig, queries: Any) -> None:
        self.training, self.batch, self.config = training, batch, config
        self.inputs: Tensor | None = None
        self.targets: Tensor | None = None
        if training.population is not None and queries is not None:
            generator = generator_of(config.seed, "validation queries")
            inputs = queries.sample(min(QUERIES, len(queries.inputs)), generator)[1]
            self.inputs = inputs
            self.targets = training.population.outputs_no_grad(batch.groups[0].values, inputs)

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """Return means over the validation networks, named `val/...`."""
        self.training.eval()
        sums: dict[str, float] = {}
        for number, group in enumerate(self.batch):
            for start in range(0, len(group), self.config.batch):
                rows = torch.arange(start, min(start + self.config.batch, len(group)))
                for name, value in self._part(group, rows, number).items():
                    sums[name] = sums.get(name, 0.0) + float(value) * len(rows)
        self.training.train()
        return {f"val/{name}": total / len(self.batch) for name, total in sums.items()}

    def _part(self, group: Weights, rows: Tensor, number: int) -> dict[str, Tensor]:
        part = Weights(group.values[rows.to(group.values.device)], group.spec, rows)
        generator = generator_of(self.config.seed, "validation views", number, int(rows[0]))
        plain = ViewConfig(permute=self.config.views.permute)
        views = make_views(part, plain, self.training.loss.views, generator)
        if self.targets is None or self.inputs is None:
            return self.training(views)
        targets = self.targets[rows.to(self.targets.device)]
        terms = self.training(views, queries=self.inputs, targets=targets)
        encoder, population = self.training.encoder, self.training.population
        if population is None or not isinstance(encoder, Autoencoder):
            return terms
        outputs = population.outputs_no_grad(encoder.reconstruct(part), self.inputs)
        return {**terms, "agreement": (outputs.argmax(-1) == targets.argmax(-1)).float().mean()}
