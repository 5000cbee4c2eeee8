"""One training step of the autoencoder: structural, behavioral, and behavioral as published code does it.

"times a structural step" is what executing the networks costs on top. The plain behavioral step computes the
outputs of originals and rebuilt networks in a loop over modules, in every step, as released code does.
"""

from collections.abc import Callable

import torch
from runner import LAP, RATIO, keep, lap, options, record
from torch import Tensor
from torch.func import functional_call

from weightatlas import runtime
from weightatlas.config import Config
from weightatlas.encoders.io import create_encoder
from weightatlas.fit import FitConfig
from weightatlas.fit.feed import TargetFeed
from weightatlas.fit.training import Training, optimizer_of
from weightatlas.networks import create_network, input_shape_of
from weightatlas.objectives import ViewConfig, recipe
from weightatlas.objectives.composite import build_loss
from weightatlas.objectives.views import make_views
from weightatlas.population.engines import named
from weightatlas.population.forward import Population
from weightatlas.population.initialize import initialize
from weightatlas.results import Record
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import batch_of, weights_of

POOL = 1024
PAPER = {"dim": 256, "layers": 8, "heads": 8, "latent": 64, "token_width": 289, "skip": "none"}


class Loop(Population):
    """Executes networks one after the other, as released code does."""

    def __call__(self, weights: Tensor, inputs: Tensor, shared: bool = True) -> Tensor:
        return torch.stack(
            [functional_call(self.network, named(row, self.spec), (inputs,)) for row in weights]
        )


class Setting:
    """Networks, queries and an encoder.

    Args:
        name: Architecture of the networks.
        batch: Networks per step.
        queries: Queries per step.
        encoder: Settings of the encoder.
    """

    def __init__(self, name: str, batch: int, queries: int, encoder: dict[str, object]) -> None:
        network, shape = create_network(name).eval(), input_shape_of(name)
        self.spec = spec_of(network, shape)
        self.values = initialize(self.spec, torch.arange(batch), "kaiming_uniform")
        self.pool, self.queries = torch.randn(POOL, *shape), queries
        self.encoder, self.network = encoder, network
        self.size = f"{name}, networks={batch}, queries={queries}, code={encoder.get('latent', 28)}"

    def step(self, row: str, plain: bool = False) -> Callable[[], None]:
        """Make a training step of one of the paper's losses."""
        config: Config = FitConfig(steps=1, lr=1e-4, queries=self.queries, views=ViewConfig(noise=0.1))
        kind = Loop if plain else Population
        population = kind(self.network, self.spec, workers=runtime.cores())
        loss = recipe(row)
        encoder = create_encoder("sane", self.spec, **self.encoder)
        encoder.adapt(batch_of(self.values, self.spec))
        training = Training(encoder, build_loss(loss, self.width(encoder)), population)
        optimizer = optimizer_of(training, config)  # type: ignore[arg-type]
        runs = training.loss.needs_queries
        feed = None
        if runs and not plain:
            feed = TargetFeed(population, self.values, self.pool, None, 4096)

        def work() -> None:
            views = make_views(
                weights_of(self.values, self.spec),
                ViewConfig(noise=0.1),
                training.loss.views,
                runtime.generator_of("speed"),
            )
            given = {}
            if runs:
                index = torch.randperm(POOL)[: self.queries]
                inputs = self.pool[index]
                with torch.no_grad():
                    rows = torch.arange(len(self.values))
                    targets = feed(rows, index, inputs) if feed else population(self.values, inputs)
                given = {"queries": inputs, "targets": targets}
            training([views], **given)["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()

        return work

    def width(self, encoder: object) -> int:
        """Width of the embedding."""
        from weightatlas.fit.check import embedding_dim

        return embedding_dim(encoder, batch_of(self.values, self.spec))  # type: ignore[arg-type]


def measure(setting: Setting, repeats: int) -> list[Record]:
    """Time the three steps in turns."""
    steps = {"structural": setting.step("CS"), "behavioral": setting.step("CSB")}
    steps["behavioral, plain"] = setting.step("CSB", plain=True)
    for step in steps.values():
        step()
    laps = [{name: lap(step) for name, step in steps.items()} for _ in range(repeats)]
    turns = [{name: one.wall for name, one in turn.items()} for turn in laps]
    topic = "autoencoder step"
    found = []
    for name in steps:
        own = [turn[name] for turn in turns]
        over = [turn[name] / turn["structural"] for turn in turns]
        method = f"weightatlas, {name}" if "plain" not in name else "loop over modules, targets each step"
        peak = max(turn[name].peak for turn in laps)
        found.append(record(topic, setting.size, method, LAP, own, peak))
        found.append(record(topic, setting.size, method, "times a structural step", over, peak))
    gain = [turn["behavioral, plain"] / turn["behavioral"] for turn in turns]
    found.append(
        record(
            topic,
            setting.size,
            "weightatlas, behavioral",
            RATIO,
            gain,
            max(turn["behavioral"].peak for turn in laps),
        )
    )
    return found


def main() -> None:
    """Measure small networks at several sizes, then the published autoencoder on CNN3."""
    args = options(__doc__)
    settings = [("digits_cnn", 4, 8, {"dim": 16, "layers": 1, "heads": 2, "latent": 4})]
    if not args.quick:
        settings = [("digits_cnn", n, q, {"latent": c}) for n, q, c in GRID]
        settings += [("cnn3", 16, 256, PAPER)]
    for name, batch, queries, encoder in settings:
        with runtime.threads(runtime.cores()):
            large = encoder is PAPER
            repeats = min(args.repeats, 3) if large else args.repeats
            records = measure(Setting(name, batch, queries, encoder), repeats)
        keep(records, args.out, "python speed/autoencoder.py")


GRID = [(16, 256, 28), (64, 64, 28), (64, 256, 28), (64, 1024, 28), (64, 256, 8), (64, 256, 64)]

if __name__ == "__main__":
    main()
