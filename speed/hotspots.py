"""Where the time of the three slowest operations goes: populating, an encoder's step, comparing networks.

    python speed/hotspots.py                    all three
    python speed/hotspots.py populate fit       some of them

Prints the operations of torch and the functions of Python with their own time in one thread. What was done
about each stands in docs/decisions.md, under Profiles.
"""

import argparse
import cProfile
import pstats
from collections.abc import Callable
from pathlib import Path

import torch
from autoencoder import Setting
from torch.profiler import ProfilerActivity, profile

from weightatlas import runtime
from weightatlas.networks import create_network, input_shape_of
from weightatlas.population.initialize import initialize
from weightatlas.population.train import TrainConfig, train
from weightatlas.symmetry.matching import match
from weightatlas.symmetry.verify import spec_of

Work = Callable[[], object]
SHOWN = 12


def populate(quick: bool) -> Work:
    """Train digits CNNs for an epoch, a batch of 32 images each."""
    count, steps = (2, 1) if quick else (32, 16)
    network, shape = create_network("digits_cnn"), input_shape_of("digits_cnn")
    data = {"train": (torch.randn(32 * steps, *shape), torch.randint(10, (32 * steps,)))}
    runs = [TrainConfig(key=key) for key in range(count)]
    spec = spec_of(network, shape)
    return lambda: list(train(network, spec, data, runs, 1, engine="batched", workers=1))


def fit(quick: bool) -> Work:
    """Do a step of SANE with its three terms on digits CNNs."""
    encoder: dict[str, object] = {"dim": 16, "layers": 1} if quick else {}
    return Setting("digits_cnn", *((4, 16) if quick else (64, 256)), encoder).step("CSB")


def compare(quick: bool) -> Work:
    """Match the weights of CNN3s with those of another one."""
    network = create_network("digits_cnn" if quick else "cnn3")
    spec = spec_of(network, input_shape_of("digits_cnn" if quick else "cnn3"))
    values = initialize(spec, torch.arange(3 if quick else 65), "kaiming_uniform")
    return lambda: match(values[1:], values[0], spec)


OPERATIONS: dict[str, Callable[[bool], Work]] = {"populate": populate, "fit": fit, "compare": compare}


def inside_torch(work: Work) -> list[tuple[str, float, int]]:
    """Return the operations of torch by their own time, in milliseconds, with their calls."""
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as found:
        work()
    events = [(e.key, e.self_cpu_time_total / 1e3, e.count) for e in found.key_averages()]
    return sorted(events, key=lambda event: -event[1])


def in_python(work: Work) -> list[tuple[str, float, int]]:
    """Return the Python functions by their own time, in milliseconds, with their calls."""
    profiler = cProfile.Profile()
    profiler.runcall(work)
    rows = []
    for (file, line, name), (_, calls, own, _, _) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        place = f"{Path(file).name}:{line} " if line else ""
        rows.append((place + name, 1e3 * own, calls))
    return sorted(rows, key=lambda row: -row[1])


def show(title: str, rows: list[tuple[str, float, int]]) -> None:
    """Print what takes the most time."""
    total = sum(time for _, time, _ in rows)
    print(f"{title}: {total:.0f} ms")
    for name, time, calls in rows[:SHOWN]:
        print(f"  {time / total:6.1%} {time:9.1f} ms {calls:7d}x  {name[:90]}")


def main() -> None:
    """Warm every operation up, then profile it twice: torch's operations and Python's functions."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="of populate, fit, compare; all if none")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    args = parser.parse_args()
    with runtime.threads(1):
        for name in args.names or OPERATIONS:
            work = OPERATIONS[name](args.quick)
            work()
            show(f"{name}, operations of torch", inside_torch(work))
            show(f"{name}, functions", in_python(work))


if __name__ == "__main__":
    main()
