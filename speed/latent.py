"""Codes: drawing from kernel densities, and refinement of many networks at once."""

from collections.abc import Iterator

import torch
from runner import Case, options, run
from torch import Tensor

from weightatlas.encoders.io import create_encoder
from weightatlas.latent.charts import chart_of
from weightatlas.latent.refine import RefineConfig, refine
from weightatlas.latent.sample import sample
from weightatlas.networks import create_network, input_shape_of
from weightatlas.population.forward import Population
from weightatlas.population.initialize import initialize
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import batch_of


def density_case(count: int, anchors: int, numbers: int) -> Case:
    """Kernel density of each code number, against scikit-learn's, number by number."""
    from sklearn.neighbors import KernelDensity

    codes = torch.randn(anchors, numbers // 8, 8, generator=torch.Generator().manual_seed(0))
    few = min(numbers, 64)

    def ours() -> Tensor:
        return sample(codes, count, torch.Generator().manual_seed(1), "kde_dimension")

    def plain() -> None:
        for column in codes.flatten(1).T[:few]:
            KernelDensity(bandwidth=0.1).fit(column[:, None].numpy()).sample(count, random_state=1)

    size = f"draws={count}, anchors={anchors}, numbers={numbers}"
    return Case("kernel density sampling", size, ours, plain, "scikit-learn per number", numbers, few)


def refine_case(count: int, steps: int) -> Case:
    """Refine networks together, against one after the other."""
    network, shape = create_network("digits_cnn"), input_shape_of("digits_cnn")
    spec = spec_of(network, shape)
    values = initialize(spec, torch.arange(max(count, 40)), "kaiming_uniform")
    encoder = create_encoder("sane", spec)
    batch = batch_of(values, spec)
    encoder.adapt(batch)
    encoder.eval()
    queries = torch.randn(512, *shape)
    population = Population(network.eval(), spec, workers=2)
    targets = population.outputs_no_grad(values, queries)
    config, few = RefineConfig(steps=steps), min(count, 2)

    def ours() -> None:
        part = batch_of(values[:count], spec).groups[0]
        refine(chart_of(encoder, part), population, targets[:count], queries, config)

    def plain() -> None:
        for row in range(few):
            part = batch_of(values[row : row + 1], spec).groups[0]
            alone = Population(network.eval(), spec, engine="loop", workers=1)
            refine(chart_of(encoder, part), alone, targets[row : row + 1], queries, config)

    size = f"digits_cnn, networks={count}, steps={steps}"
    return Case("refine codes", size, ours, plain, "one network at a time", count, few)


def cases(quick: bool) -> Iterator[Case]:
    """All cases, small ones first."""
    if quick:
        yield density_case(5, 10, 16)
        yield refine_case(2, 1)
        return
    for count in (100, 1000):
        yield density_case(count, 200, 2048)
    for count in (10, 100):
        yield refine_case(count, 4)


if __name__ == "__main__":
    args = options(__doc__)
    run(cases(args.quick), 1 if args.quick else args.repeats, args.out, "python speed/latent.py")
