"""One training step of NetSpace: networks executed as a population, against one network after the other."""

from collections.abc import Iterator

import torch
from runner import Case, options, run
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from weightatlas.encoders.io import create_encoder
from weightatlas.encoders.prep_autoencoder import PrepAutoencoder
from weightatlas.networks import create_network, input_shape_of
from weightatlas.networks.ladder import STEPS
from weightatlas.objectives.distillation import knowledge
from weightatlas.objectives.space import SpaceConfig, SpaceLoss, SpaceStep
from weightatlas.population.forward import Population
from weightatlas.population.initialize import initialize
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import batch_of, weights_of
from weightatlas.weights.fold import fold_network
from weightatlas.weights.vector import unflatten

IMAGES, SHAPE = 128, (1, 8, 8)


def step_case(count: int, cached: bool, name: str = "cnn_strided") -> Case:
    """Encode, decode, execute, compare, go back, and move the autoencoder; the same numbers both ways.

    Args:
        count: Networks per step.
        cached: Whether the plain loop, too, knows the originals' outputs; the released code runs the
            originals again in every step.
        name: Network of the library.
    """
    network, shape = create_network(name).eval(), input_shape_of(name)
    spec = spec_of(network, shape)
    values = initialize(spec, torch.arange(count), "default")
    encoder = create_encoder("netspace", spec, align=False)
    assert isinstance(encoder, PrepAutoencoder)
    encoder.adapt(batch_of(values, spec))
    inputs = torch.randn(IMAGES, *shape)
    population = Population(network, spec, engine="batched", workers=torch.get_num_threads())
    targets = population.outputs_no_grad(values, inputs)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-6)
    loss, rungs = SpaceLoss(SpaceConfig()), torch.zeros(count, dtype=torch.int64)

    def finish(value: Tensor) -> None:
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    def ours() -> None:
        codes = encoder.encode(weights_of(values, spec)).codes
        step = SpaceStep(encoder, [population], codes, rungs, inputs, None, targets)
        finish(loss(step)["loss"])

    def answers(row: int) -> Tensor:
        if cached:
            return targets[row]
        with torch.no_grad():
            return functional_call(network, unflatten(values[row], spec), (inputs,))

    def plain() -> None:
        total = torch.zeros(())
        for row in range(count):
            codes = encoder.encode(weights_of(values[row : row + 1], spec)).codes
            state = unflatten(encoder.decode(codes, spec).weights[0], spec)
            outputs = functional_call(network, state, (inputs,))
            total = total + knowledge(outputs[None], answers(row)[None])[0] / count
        finish(total)

    label = "loop over networks, outputs cached" if cached else "loop over networks"
    size = f"networks={count}, images={IMAGES}, parameters={spec.params}"
    return Case("NetSpace training step", size, ours, plain, label)


def ladder_case(each: int) -> Case:
    """Four architectures, a teacher, and codes between: the plain loop runs the teacher for every network.

    Args:
        each: Networks of every architecture in a step.
    """
    codes_of = [create_network("ladder", step=step) for step in range(STEPS)]
    bare = [fold_network(code, spec_of(code, SHAPE)) for code in codes_of]
    specs = [spec_of(code, SHAPE) for code in bare]
    groups = [weights_of(initialize(spec, torch.arange(each), "default"), spec) for spec in specs]
    encoder = create_encoder("netspace", ladder=specs, align=False)
    assert isinstance(encoder, PrepAutoencoder)
    workers = torch.get_num_threads()
    crowd = [Population(b, s, engine="batched", workers=workers) for b, s in zip(bare, specs, strict=True)]
    teacher = create_network("ladder", step=STEPS - 1, width=16).eval()
    inputs, answers = torch.randn(IMAGES, *SHAPE), torch.randint(0, 10, (IMAGES,))
    with torch.no_grad():
        known = teacher(inputs)
    rungs = torch.arange(STEPS).repeat_interleave(each)
    loss = SpaceLoss(SpaceConfig(against="teacher", total="sum"))

    def ours() -> None:
        codes = torch.cat([encoder.encode(group).codes for group in groups])
        goals = known.expand(len(codes), -1, -1)
        loss(SpaceStep(encoder, crowd, codes, rungs, inputs, answers, goals))["loss"].backward()

    def one(code: Tensor, rung: int) -> Tensor:
        """Loss of one code, decoded as one architecture."""
        state = unflatten(encoder.decode(code, specs[rung]).weights[0], specs[rung])
        outputs = functional_call(bare[rung], state, (inputs,))
        with torch.no_grad():
            goal = teacher(inputs)
        place = torch.tensor([rung])
        return knowledge(outputs[None], goal[None], answers, 0.9).sum() + cross_entropy(
            encoder.classify(code), place
        )

    def plain() -> None:
        rows = [weights_of(row[None], group.spec) for group in groups for row in group.values]
        codes = [encoder.encode(row).codes for row in rows]
        total = torch.stack([one(code, int(rung)) for code, rung in zip(codes, rungs, strict=True)]).sum()
        for small in range(each):
            for large in range(3 * each, 4 * each):
                for rung in range(1, STEPS - 1):
                    total = total + one(torch.lerp(codes[small], codes[large], rung / (STEPS - 1)), rung)
        total.backward()

    size = f"architectures={STEPS}, networks={STEPS * each}, pairs={each * each}, images={IMAGES}"
    label = "loop over networks, teacher in it"
    return Case("NetSpace training step, four architectures", size, ours, plain, label)


def cases(quick: bool) -> Iterator[Case]:
    """Yield what is timed."""
    for cached in (False, True):
        yield step_case(2 if quick else 16, cached)
    yield ladder_case(1 if quick else 2)


if __name__ == "__main__":
    args = options(__doc__)
    run(cases(args.quick), 1 if args.quick else args.repeats, args.out, "python speed/netspace.py")
