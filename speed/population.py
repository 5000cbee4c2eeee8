"""Training speed of a population against the best plain PyTorch loop, as ratios from one process run.

    python speed/population.py                       networks of the library at batch 32, some at 512
    python speed/population.py digits_cnn:32 cnn3:512 --repeats 9

Every contestant takes epochs in turn, so that whatever else the machine does meets all of them alike.
The ratio is networks x epochs per minute over that of the plain loop with one thread or one per core,
whichever is faster: median and standard deviation over the turns. Wall time is only fair on an idle
machine, so the share of processor time that other programs took is measured too, and the ratio of the
processor time of this process stands beside it: it says what a core is worth, not what cores add up to.
"""

import argparse
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median, stdev

import torch
from plain_loop import PlainLoop
from runner import RESULTS
from torch import Tensor
from torch.nn import functional as F

from weightatlas import runtime
from weightatlas.networks import create_network, input_shape_of
from weightatlas.networks.registry import networks
from weightatlas.population.blocks import Block, plan
from weightatlas.population.engines import cross_entropy, engines
from weightatlas.population.initialize import initialize
from weightatlas.population.operations import NoProgram
from weightatlas.population.teams import Team
from weightatlas.population.train import TrainConfig
from weightatlas.results import Record, append_records, new_peak, peak_mb, stamped
from weightatlas.symmetry.verify import spec_of
from weightatlas.tables import table

BENCH = "speed of population training"
COUNTS = {"digits_cnn": 128, "mlp": 128, "siren": 64, "cnn_small": 32, "cnn_unterthiner": 32}  # others: 8
COUNTS |= {"resnet32": 2, "resnet56": 2}
STEPS = {"resnet32": 1, "resnet56": 1}  # per turn, where a step takes long; others as the command says
CASES = ["digits_cnn:32", "mlp:32", "cnn_small:32", "cnn_unterthiner:32", "cnn3:32", "lenet5:32"]
CASES += [
    "resnet_small:32",
    "siren:784",
    "digits_cnn:512",
    "cnn_small:512",
    "cnn_unterthiner:512",
    "cnn3:512",
]
CASES += ["lenet5:512"]
NAMED = {case.partition(":")[0] for case in CASES}
CASES += [f"{name}:32" for name in networks.names() if name not in NAMED]  # none is left out
Epoch = Callable[[], None]
HOPELESS = 8.0  # a contestant this much slower than the best in the first turn leaves
RATIO, CPU = "ratio to the best plain loop", "ratio in processor time"


def _errors(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of each network."""
    return (outputs - targets).square().flatten(1).mean(dim=1)


def _data(shape: tuple[int, ...], images: int) -> tuple[Tensor, Tensor]:
    generator = runtime.generator_of("speed", images)
    inputs = torch.randn(images, *shape, generator=generator)
    if len(shape) == 1:  # points of a signal
        return inputs, inputs.sin().sum(dim=1, keepdim=True)
    return inputs, torch.randint(0, 10, (images,), generator=generator)


def _plain(name: str, count: int, data: tuple[Tensor, Tensor], batch: int, threads: int) -> Epoch:
    loss = F.mse_loss if data[1].is_floating_point() else F.cross_entropy
    loop = PlainLoop(create_network(name), count, *data, batch, loss)

    def epoch() -> None:
        with runtime.threads(threads):
            loop.epoch()

    return epoch


def _ours(
    name: str, engine: str, count: int, data: tuple[Tensor, Tensor], batch: int, stack: ExitStack
) -> Epoch:
    network = create_network(name)
    spec = spec_of(network, input_shape_of(name))
    if engine != "auto":
        engines.create(engine, network=network, spec=spec)  # a network it cannot run is found here
    runs = [TrainConfig(key=key, batch_size=batch) for key in range(count)]
    weights = initialize(spec, torch.arange(count), "kaiming_uniform")
    split = {"train": data}
    cores = runtime.cores()
    blocks = [Block(rows, [runs[i] for i in rows], weights[rows], spec, split) for rows in plan(runs, cores)]
    loss = _errors if data[1].is_floating_point() else cross_entropy
    team = stack.enter_context(Team(network, spec, split, blocks, engine, cores, 512.0, loss))
    return lambda: team.train(1)


def measure(name: str, batch: int, repeats: int, steps: int, seconds: float) -> list[Record]:
    """Time all contestants on one network, in turns.

    Args:
        name: A network of the library.
        batch: Images per step.
        repeats: Turns.
        steps: Steps per network and turn.
        seconds: After which no further turn starts, but three are taken.
    """
    shape, steps = input_shape_of(name), min(steps, STEPS.get(name, steps))
    data = _data(shape, steps * batch)
    count = COUNTS.get(name, 8)
    count = count if batch < 100 or name == "siren" else max(count // 4, 4)
    few = max(count // 16, 2)  # the loop needs no crowd to show its speed
    with ExitStack() as stack:
        contestants: dict[str, tuple[int, Epoch]] = {
            f"plain loop, {n} thread{'s' * (n > 1)}": (few, _plain(name, few, data, batch, n))
            for n in sorted({1, runtime.cores()})
        }
        plain = list(contestants)
        for engine in [*engines.names(), "auto"]:
            try:
                own = _ours(name, engine, count if engine != "loop" else max(few, 4), data, batch, stack)
            except NoProgram as error:
                print(f"{name}: no {engine} engine, {error}")
                continue
            contestants[engine] = (count if engine != "loop" else max(few, 4), own)
        turns = [_turn(contestants)]
        best = min(lap.wall for lap in turns[0].values())
        contestants = {
            k: v for k, v in contestants.items() if turns[0][k].wall < HOPELESS * best or k in plain[:1]
        }
        turns, began = [], time.perf_counter()  # the first turn warmed up
        while len(turns) < repeats and (len(turns) < 3 or time.perf_counter() - began < seconds):
            turns.append(_turn(contestants))
    laps = {label: [turn[label] for turn in turns] for label in contestants}
    return _records(name, batch, steps, count, laps, [label for label in plain if label in laps])


@dataclass(frozen=True)
class Lap:
    """Seconds per network of one epoch: on the clock, of this process on all cores; others' share; memory."""

    wall: float
    cpu: float
    others: float
    peak: float


def _turn(contestants: dict[str, tuple[int, Epoch]]) -> dict[str, Lap]:
    """Let every contestant train one epoch."""
    laps = {}
    for label, (networks_, epoch) in contestants.items():
        new_peak()
        start, own, busy = time.perf_counter(), time.process_time(), _busy()
        epoch()
        wall, cpu = time.perf_counter() - start, time.process_time() - own
        others = max(_busy() - busy - cpu, 0.0) / (wall * runtime.cores())
        laps[label] = Lap(wall / networks_, cpu / networks_, others, peak_mb())
    return laps


def _busy() -> float:
    """Processor seconds the whole machine has spent, where the system tells."""
    path = Path("/proc/stat")
    if not path.exists():
        return 0.0
    fields = [int(field) for field in path.read_text().split("\n")[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def _records(
    name: str, batch: int, steps: int, count: int, laps: dict[str, list[Lap]], plain: list[str]
) -> list[Record]:
    best = min(plain, key=lambda label: median(lap.wall for lap in laps[label]))
    records = []
    for label, own in laps.items():
        pairs = list(zip(laps[best], own, strict=True))
        numbers = {
            RATIO: [base.wall / lap.wall for base, lap in pairs],
            CPU: [base.cpu / lap.cpu for base, lap in pairs],
            "steps per second": [steps / lap.wall for lap in own],
            "share of others": [lap.others for lap in own],
        }
        common = {
            "bench": BENCH,
            "tier": "laptop",
            "zoo": f"{name}, batch={batch}",
            "method": label,
            "kind": "baseline" if label in plain else "ours",
            "split": "none",
            "n": count,
            "peak_mb": round(max(lap.peak for lap in own), 1),
        }
        for metric, values in numbers.items():
            spread = stdev(values) if len(values) > 1 else None
            records.append(
                Record.build(common | {"metric": metric, "value": median(values), "spread": spread})
            )
    return records


def main() -> None:
    """Measure, write the records beside this file, print the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", help="network:batch, several")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="steps per network and turn")
    parser.add_argument("--seconds", type=float, default=10.0, help="per case, about")
    parser.add_argument("--quick", action="store_true", help="one small case, to see that everything runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="results file")
    args = parser.parse_args()
    from rich.console import Console

    console = Console()
    for case in ["mlp:8"] if args.quick else args.cases or CASES:
        name, _, batch = case.partition(":")
        found = measure(name, int(batch or 32), args.repeats, args.steps, args.seconds)
        records = stamped(found, "python speed/population.py")
        append_records(args.out, records)
        console.print(table(records, rows="method", columns="metric"))


if __name__ == "__main__":
    main()
