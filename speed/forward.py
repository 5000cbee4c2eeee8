"""Running a population against a plain loop over modules: outputs alone, and with gradients of weights."""

from collections.abc import Iterator

import torch
from runner import Case, options, run
from torch import Tensor, nn

from weightatlas.networks import create_network, input_shape_of
from weightatlas.population.forward import Population
from weightatlas.population.initialize import initialize
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.spec import NetworkSpec


def modules(network: nn.Module, spec: NetworkSpec, weights: Tensor) -> list[nn.Module]:
    """Load rows into modules."""
    import copy

    found = []
    for row in weights:
        one = copy.deepcopy(network).eval()
        parts = {t.name: row[spec.slices[t.name]].reshape(t.shape) for t in spec.tensors}
        one.load_state_dict(parts, strict=False)
        found.append(one)
    return found


def case(name: str, networks: int, queries: int, graded: bool) -> Case:
    """Make a case; the plain loop runs at most 16 networks."""
    network, shape = create_network(name), input_shape_of(name)
    spec = spec_of(network, shape)
    weights = initialize(spec, torch.arange(networks), "kaiming_uniform").requires_grad_(graded)
    inputs, few = torch.randn(queries, *shape), min(networks, 16)
    plain = modules(network, spec, weights.detach()[:few])
    population = Population(network.eval(), spec)

    def ours() -> None:
        if graded:
            torch.autograd.grad(population(weights, inputs).square().sum(), weights)
        else:
            population.outputs_no_grad(weights, inputs)

    def loop() -> None:
        for one in plain:
            with torch.set_grad_enabled(graded):
                outputs = one(inputs)
            if graded:
                torch.autograd.grad(outputs.square().sum(), list(one.parameters()))

    topic = "a population forward and backward" if graded else "a population forward"
    size = f"{name}, networks={networks}, queries={queries}"
    return Case(topic, size, ours, loop, "loop over modules", networks, few)


def cases(quick: bool) -> Iterator[Case]:
    """All cases, small ones first."""
    if quick:
        yield case("digits_cnn", 4, 16, graded=True)
        return
    for graded in (False, True):
        for networks in (16, 64, 256):
            yield case("digits_cnn", networks, 256, graded)
        for queries in (64, 1024):
            yield case("digits_cnn", 64, queries, graded)
        yield case("cnn3", 32, 256, graded)
        yield case("resnet_small", 4, 128, graded)
        yield case("siren", 64, 784, graded)


if __name__ == "__main__":
    args = options(__doc__)
    run(cases(args.quick), args.repeats, args.out, "python speed/forward.py")
