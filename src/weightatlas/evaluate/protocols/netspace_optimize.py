"""NetSpace, latent optimization: train networks by moving their codes, beside moving their weights."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field as Setting
from torch import Tensor

from weightatlas.config import Config
from weightatlas.encoders.charts import Chart
from weightatlas.encoders.prep_autoencoder import PrepAutoencoder
from weightatlas.evaluate.protocols import netspace_ladder, netspace_reconstruct
from weightatlas.evaluate.protocols.netspace_rungs import lessons_of
from weightatlas.evaluate.protocols.netspace_stage import Field
from weightatlas.evaluate.protocols.registry import Card, Unit, benches, cards, run_units, settings_of
from weightatlas.evaluate.protocols.stage import Stage, stage
from weightatlas.latent.charts import free_chart, offset_chart
from weightatlas.latent.optimize import (
    Lessons,
    OptimizeConfig,
    Optimized,
    code_chart,
    optimize,
    stays_in_class,
)
from weightatlas.results import Record
from weightatlas.runtime import generator_of

BENCH = "netspace_optimize"
STARTS = ("weak", "median", "strong", "random")
CODES, BOTH, FREE = "codes", "codes, then all weights", "all weights"
SUBSPACE = "random subspace, same size"
KINDS = {CODES: "ours", BOTH: "ours", FREE: "baseline", SUBSPACE: "baseline"}
COLUMNS = (
    *(f"accuracy, {start} start" for start in STARTS),
    *("accuracy", "initial accuracy", "validation accuracy after a fifth of the steps"),
)


class OptimizeBench(Config):
    """Settings of `bench netspace_optimize`.

    Args:
        recipe: Zoo of one architecture.
        ladder: Zoo of the smallest of several.
        single: Bench whose first autoencoder codes one architecture.
        single_settings: Changes to its settings.
        multiple: Bench whose first autoencoder codes several.
        multiple_settings: Changes to its settings.
        each: Networks per start, and per architecture.
        steps: Gradient steps, the same for all methods.
        rates: Learning rates every method may choose from, by mean validation accuracy; as many for each.
    """

    recipe: str
    ladder: str
    single: str = netspace_reconstruct.BENCH
    single_settings: dict[str, Any] = {}
    multiple: str = netspace_ladder.BENCH
    multiple_settings: dict[str, Any] = {}
    each: int = Setting(default=3, ge=1)
    steps: int = Setting(ge=5)
    rates: dict[str, tuple[float, ...]] = {
        CODES: (0.01, 0.03, 0.1, 0.3, 1.0),
        FREE: (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
        SUBSPACE: (0.01, 0.03, 0.1, 0.3, 1.0),
    }

    def own(self, tier: str) -> netspace_reconstruct.ReconstructConfig:
        """Settings of the autoencoder of one architecture."""
        changes = {"recipe": self.recipe, **self.single_settings}
        return settings_of(self.single, tier, netspace_reconstruct.ReconstructConfig, changes)

    def own_ladder(self, tier: str) -> netspace_ladder.LadderConfig:
        """Settings of the autoencoder of several."""
        changes = {"recipe": self.ladder, **self.multiple_settings}
        return settings_of(self.multiple, tier, netspace_ladder.LadderConfig, changes)


cards[BENCH] = Card(
    "NetSpace, latent optimization from weak to strong starts, and for four architectures",
    "netspace_digits",
    {"smoke": 0.8, "laptop": 8, "paper": None},
    COLUMNS,
    settings=OptimizeBench,
)

# Table I: Tiny-ImageNet test accuracy before and after latent optimization.
_PUBLISHED = {
    "one architecture, ResNet8": (0.2573, 0.3572),
    "four architectures, LeNetLike": (0.1744, 0.1855),
    "four architectures, VanillaCNN": (0.2289, 0.2417),
    "four architectures, ResNet8": (0.3881, 0.4207),
    "four architectures, ResNet32": (0.5217, 0.5313),
}


@benches.register(BENCH)
def netspace_optimize(
    tier: str, out: str | Path, seeds: Sequence[int] = (0, 1, 2), cache: Path | None = None, **changes: Any
) -> list[Record]:
    """Optimize codes through a frozen decoder (Berardi et al., 2022, Table I), beside two baselines.

    All methods start at the same networks (codes at what they rebuild, baselines at the networks themselves),
    see the same images and do the same number of steps; one moves codes in the first half of them and all
    weights in the second. Test images are used for the final number alone.

    Args:
        tier: "smoke", "laptop" or "paper".
        out: Results file; what it holds already is not measured again.
        seeds: Of the autoencoders, of random starts and of the order of images.
        cache: Folder of zoos and encoders; beside `out` by default. Autoencoders of the other NetSpace
            benches in it are reused.
        changes: Settings that differ from `presets/benches/netspace_optimize.yaml`.
    """
    settings = settings_of(BENCH, tier, OptimizeBench, changes)
    units = units_of(BENCH, settings, seeds)
    return run_units(BENCH, tier, out, settings.recipe, units, published_records(BENCH), cache)


def units_of(bench: str, settings: OptimizeBench, seeds: Sequence[int]) -> list[Unit]:
    """List what a bench of latent optimization measures: one architecture and several, for each seed."""
    parts = {CODES: single_records, f"{CODES}, four architectures": multiple_records}
    return [
        Unit(name, seed, partial(work, seed=seed, settings=settings, bench=bench))
        for seed in seeds
        for name, work in parts.items()
    ]


def single_records(there: Stage, seed: int, settings: OptimizeBench, bench: str = BENCH) -> list[Record]:
    """Optimize networks of one architecture from weak, median, strong and random starts."""
    own, other = settings.own(there.tier), settings.own_ladder(there.tier)
    encoder = netspace_reconstruct.trained(there, "netspace", seed, own)
    field = netspace_reconstruct.single(there, own.engine, own.held)
    codes, originals, names = starts(encoder, field, settings.each, seed)
    charts = charts_of(encoder, field, codes, originals, seed)
    learn = partial(_optimized, field, lessons_of(there, other, other.engine), settings, seed, None)
    records = []
    for method, chart in charts.items():
        found = both(learn, chart, settings.steps) if method == BOTH else learn(method, chart)
        numbers = measured(there, field, chart, found)
        for start in STARTS:
            rows = torch.tensor([name == start for name in names])
            numbers[f"accuracy, {start} start"] = float(_test(there, field, found.weights[rows]).mean())
        records += _records(there, method, method, seed, numbers, len(codes), bench)
    return records


def multiple_records(there: Stage, seed: int, settings: OptimizeBench, bench: str = BENCH) -> list[Record]:
    """Optimize networks of four architectures from one space, each kept in its class."""
    other = stage(settings.ladder, there.tier, there.cache, str(there.device))
    own = settings.own_ladder(there.tier)
    encoder = netspace_ladder.trained(other, netspace_ladder.ALL, seed, own)
    lessons, totals = lessons_of(other, own, own.engine), dict[str, list[dict[str, float]]]()
    for step, field in enumerate(netspace_ladder.fields(other, own)):
        originals = field.parts["test"][: settings.each]
        with torch.no_grad():
            codes = encoder.encode(field.weights("test")).codes[: settings.each]
        penalty = stays_in_class(encoder, field.spec)
        for method, chart in charts_of(encoder, field, codes, originals, seed).items():
            extra = penalty if method in (CODES, BOTH) else None
            learn = partial(_optimized, field, lessons, settings, seed, extra)
            found = both(learn, chart, settings.steps) if method == BOTH else learn(method, chart)
            numbers = measured(other, field, chart, found)
            named = {f"{name}, step {step}": value for name, value in numbers.items()}
            totals.setdefault(method, []).append({**numbers, **named})
    records = []
    for method, each in totals.items():
        names = [name for name in each[0] if "step 0" not in name]
        numbers = {name: sum(found[name] for found in each) / len(each) for name in names}
        numbers |= {name: v for found in each for name, v in found.items() if ", step " in name}
        count = settings.each * len(each)
        records += _records(there, f"{method}, four architectures", method, seed, numbers, count, bench)
    return records


def starts(
    encoder: PrepAutoencoder, field: Field, each: int, seed: int
) -> tuple[Float[Tensor, "networks 1 dim"], Float[Tensor, "networks params"], list[str]]:
    """Codes to start at, the networks baselines start at, and the names of the starts.

    Weak, median and strong are test networks by validation accuracy; baselines start at the originals.
    Random codes are drawn with the mean and spread of training codes; baselines start at what they decode to.
    """
    order, values = field.scores["test"].argsort(stable=True), field.parts["test"]
    middle = max((len(order) - each) // 2, 0)
    rows = torch.cat([order[:each], order[middle : middle + each], order[-each:]])
    with torch.no_grad():
        known = encoder.encode(field.weights("train")).codes
        codes = encoder.encode(field.weights("test")).codes[rows]
        drawn = torch.randn(each, *known.shape[1:], generator=generator_of("random start", seed))
        drawn = known.mean(0) + known.std(0) * drawn.to(known)
        originals = torch.cat([values[rows], encoder.decode(drawn, field.spec).weights])
    return torch.cat([codes, drawn]), originals, [start for start in STARTS for _ in range(each)]


def charts_of(
    encoder: PrepAutoencoder, field: Field, codes: Tensor, originals: Tensor, seed: int
) -> dict[str, Chart]:
    """What each method moves."""
    size = min(encoder.config.dim, field.spec.params)
    start = code_chart(encoder, codes, field.spec)
    return {
        CODES: start,
        BOTH: start,
        FREE: free_chart(originals),
        SUBSPACE: offset_chart(originals, size, seed),
    }


def both(learn: Callable[..., Optimized], chart: Chart, steps: int) -> Optimized:
    """Move codes for half of the steps, then all weights of what they decode to.

    The second half goes on where the first stopped in the order of images, so that as many different ones
    are seen as by methods that move one thing all the time.

    Args:
        learn: From a method, a chart and the first and last step to optimized networks.
        chart: Codes.
        steps: Steps of both halves together.
    """
    codes = learn(CODES, chart, end=steps // 2)
    free = learn(FREE, free_chart(codes.weights), begin=steps // 2, end=steps)
    checks = codes.checks + [codes.checks[-1] + check for check in free.checks[1:]]
    return Optimized(free.weights, free.positions, checks, torch.cat([codes.curve, free.curve[1:]]))


def _optimized(
    field: Field,
    lessons: Lessons,
    settings: OptimizeBench,
    seed: int,
    penalty: Callable[[Tensor], Tensor] | None,
    method: str,
    chart: Chart,
    begin: int = 0,
    end: int | None = None,
) -> Optimized:
    """Optimize with every learning rate; keep the one with the best mean validation accuracy.

    Args:
        begin: Steps done before.
        end: Steps done behind; all by default.
    """
    every, steps = max(settings.steps // 20, 1), (end or settings.steps) - begin
    tried = [
        optimize(
            chart,
            field.population,
            lessons,
            OptimizeConfig(steps=steps, lr=rate, every=every, seed=seed, begin=begin),
            penalty if method != FREE else None,
        )
        for rate in settings.rates[method]
    ]
    return max(tried, key=lambda found: float(found.curve.amax(0).mean()))


def measured(there: Stage, field: Field, chart: Chart, found: Optimized) -> dict[str, float]:
    """Test accuracy before and after, and how soon validation accuracy came."""
    with torch.no_grad():
        before = _test(there, field, chart.decode(chart.start))
    early = max(len(found.checks) // 5, 1) + 1
    return {
        "accuracy": float(_test(there, field, found.weights).mean()),
        "initial accuracy": float(before.mean()),
        "validation accuracy": float(found.curve.amax(0).mean()),
        "validation accuracy after a fifth of the steps": float(found.curve[:early].amax(0).mean()),
        "numbers moved": float(chart.numbers),
    }


def _test(there: Stage, field: Field, values: Tensor) -> Float[Tensor, " networks"]:
    exam = field.exam(there)
    return exam.accuracy(exam.classes(values))


def _records(
    there: Stage, name: str, method: str, seed: int, numbers: dict[str, float], count: int, bench: str
) -> list[Record]:
    about = {"method": name, "kind": KINDS[method], "n": count, **there.about(bench, seed)}
    return [Record.build({**about, "metric": metric, "value": value}) for metric, value in numbers.items()]


def published_records(bench: str) -> list[Record]:
    """Numbers of Table I; initial is what the source networks reach."""
    about = {"bench": bench, "tier": "paper", "zoo": "Tiny-ImageNet", "kind": "published"}
    return [
        Record.build({**about, "method": name, "metric": metric, "value": value})
        for name, pair in _PUBLISHED.items()
        for metric, value in zip(("initial accuracy", "accuracy"), pair, strict=True)
    ]
