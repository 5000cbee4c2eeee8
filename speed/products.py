"""Matrix products: how fast they are here, and which share of that training a population reaches."""

import time
from contextlib import ExitStack

import torch
from runner import keep, options, record
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from population import COUNTS, _data, _ours
from weightatlas import runtime
from weightatlas.networks import create_network, input_shape_of
from weightatlas.results import new_peak


def rate(size: int, repeats: int) -> list[float]:
    """Arithmetic per second, in GFLOP/s, of square matrix products on all cores."""
    a, b = torch.randn(2, size, size)
    out = torch.empty(size, size)
    laps = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        laps.append(2 * size**3 / (time.perf_counter() - start) / 1e9)
    return laps[1:]


def arithmetic(name: str, batch: int) -> int:
    """Multiplications and additions of one training step of one network."""
    network, inputs = create_network(name).train(), torch.randn(batch, *input_shape_of(name))
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(network(inputs), torch.zeros(batch, dtype=torch.long)).backward()
    return counter.get_total_flops()


def training(name: str, batch: int, repeats: int, count: int) -> list[float]:
    """Arithmetic per second while a population trains."""
    steps = 4
    with ExitStack() as stack, runtime.threads(runtime.cores()):
        data = _data(input_shape_of(name), steps * batch)
        epoch = _ours(name, "auto", count, data, batch, stack)
        epoch()
        laps = []
        for _ in range(repeats):
            start = time.perf_counter()
            epoch()
            laps.append(time.perf_counter() - start)
    total = arithmetic(name, batch) * steps * count / 1e9
    return [total / lap for lap in laps]


def main() -> None:
    """Measure products, then training."""
    args = options(__doc__)
    command, best = "python speed/products.py", 0.0
    for size in (64,) if args.quick else (256, 1024, 2048):
        new_peak()
        found = rate(size, max(args.repeats, 5))
        best = max(best, max(found))
        keep([record("matrix products", f"size={size}", "weightatlas", "GFLOP/s", found)], args.out, command)
    names = ["mlp"] if args.quick else ["digits_cnn", "mlp", "cnn_small", "cnn_unterthiner", "cnn3", "lenet5"]
    for name in [*names, *([] if args.quick else ["resnet_small"])]:
        count = 4 if args.quick else COUNTS.get(name, 8)
        new_peak()
        found = training(name, 32, args.repeats, count)
        records = [record("arithmetic in training", f"{name}, batch=32", "weightatlas", "GFLOP/s", found)]
        share = [value / best for value in found]
        records.append(
            record("arithmetic in training", f"{name}, batch=32", "weightatlas", "share of products", share)
        )
        keep(records, args.out, command)


if __name__ == "__main__":
    main()
