"""Compare two networks of about a million parameters: strangers and relatives, against matching alone.

The plain way is published weight matching of the one pair until nothing moves; ours also folds, balances,
tests the stored order, matches a scrambled control, and names what was done. The aim is one second on two
cores; processor time counts both of them.
"""

from functools import cache

import torch
from runner import LAP, Case, keep, lap, options, record
from torch import Tensor

from weightatlas.networks import create_network, input_shape_of
from weightatlas.population.train import TrainConfig, train
from weightatlas.relate import family
from weightatlas.relate.compare import compare
from weightatlas.results import Record
from weightatlas.runtime import generator_of
from weightatlas.symmetry.verify import spec_of
from weightatlas.tasks import create_task
from weightatlas.weights.spec import NetworkSpec
from weights import rebasin, tensors

PROCESSOR = "processor seconds per call"
KINDS = ("strangers", "fine-tuned", "renumbered and fine-tuned", "rounded")


@cache
def trained(widths: tuple[int, ...], epochs: int) -> tuple[NetworkSpec, Tensor]:
    """Two perceptrons trained on digits from independent first weights."""
    network = create_network("mlp", hidden=widths)
    spec = spec_of(network, input_shape_of("mlp"))
    runs = [TrainConfig(key=key) for key in (1, 2)]
    data = {"train": create_task("digits").split("train")}
    return spec, next(iter(train(network, spec, data, runs, epochs, engine="batched"))).weights


def partner(kind: str, spec: NetworkSpec, values: Tensor) -> Tensor:
    """Make the second network of a pair."""
    first, second = values
    if kind == "strangers":
        return second
    if kind == "rounded":
        return family.quantized(first[None], spec, "int8 per row")[0]
    noise = torch.randn(first.shape, generator=generator_of("drift"))
    tuned = first + 0.2 * first.std() * noise
    return family.permuted(tuned[None], spec)[0] if kind.startswith("renumbered") else tuned


def pair_case(kind: str, widths: tuple[int, ...], epochs: int) -> Case:
    spec, values = trained(widths, epochs)
    first, second = values[0], partner(kind, spec, values)

    def ours() -> None:
        compare(first, second, spec)

    def plain() -> None:
        rebasin(tensors(spec, second), tensors(spec, first))

    size = f"{kind}, mlp, parameters={spec.params}"
    return Case("compare a pair", size, ours, plain, "weight matching alone")


def measured(case: Case, repeats: int) -> list[Record]:
    """Warm both up, let them take turns, and return seconds of both."""
    case.ours()
    case.plain()
    turns = [(lap(case.ours), lap(case.plain)) for _ in range(repeats)]
    records = []
    for place, method in enumerate(("weightatlas", case.plain_name)):
        laps = [turn[place] for turn in turns]
        for metric, values in ((LAP, [x.wall for x in laps]), (PROCESSOR, [x.cpu for x in laps])):
            peak = max(x.peak for x in laps)
            records.append(record(case.topic, case.size, method, metric, values, peak))
    return records


if __name__ == "__main__":
    args = options(__doc__)
    for kind in KINDS:
        case = pair_case(kind, (30, 20) if args.quick else (960, 940), 1 if args.quick else 4)
        keep(measured(case, args.repeats), args.out, "python speed/kinship.py")
