"""Activation codes: weights in the coordinates in which their layer's inputs vary (our own method)."""

from collections.abc import Callable, Iterator
from itertools import accumulate, pairwise
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from weightatlas.config import Config
from weightatlas.encoders.activation_chart import basis_chart
from weightatlas.encoders.base import Autoencoder, Decoded, Encoded, encoders, full_mask
from weightatlas.encoders.charts import Chart
from weightatlas.encoders.moments import columns_of, cross_moment, leading_axes, second_moment
from weightatlas.encoders.ranks import coded_layers, even_ranks, share_ranks
from weightatlas.encoders.rounding import Coarsening, rounded
from weightatlas.errors import DataError, NoCode, SpecError
from weightatlas.population.batched import batch_last
from weightatlas.population.crew import side_by_side
from weightatlas.population.operations import Tape, Workspace
from weightatlas.population.prepare import prepare
from weightatlas.population.program import Program, program_of
from weightatlas.weights.batch import Batch, Weights
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.vector import unflatten

CHUNK = 16  # networks whose unfolded inputs are held at once, at most
UNFOLDED = 2**27  # numbers of unfolded inputs of one layer held at once by a worker


class ActivationConfig(Config):
    """Settings of activation codes.

    Args:
        ratio: Parameters per code number (true compression).
        images: Unlabelled images that encoder and decoder share; a fixed cost, not part of a code.
        ridge: Damping of the least squares, relative to the mean input energy of a layer.
        sample: Training networks used to decide how many numbers each layer gets.
    """

    ratio: float = Field(default=1.8, gt=0)
    images: int = Field(default=512, ge=1)
    ridge: float = Field(default=1e-4, ge=0)
    sample: int = Field(default=48, ge=1)


@encoders.register("activation")
class Activation(Autoencoder):
    """Codes each neuron by what it does to the inputs its layer really receives.

    A neuron's output is `w . a`, with `a` the layer's input (a patch, for convolutions). Directions in
    which `a` never varies do not matter, and the others matter by their second moment. So a layer is
    coded by its coordinates on the leading eigenvectors of that moment. The decoder rebuilds layer by
    layer: once the first layers are decoded, it runs them on a fixed pool of unlabelled images and
    finds the eigenvectors itself, so they are not part of the code. The encoder walks along and fits
    each layer to the original's outputs by least squares *on the inputs the decoded layers produce*,
    which lets later layers make up for errors of earlier ones.

    Nothing is trained. Coordinates do not depend on the order of the previous layer's neurons, since
    permuting them permutes the eigenvectors alike. Other layers are kept number by number.

    Example:
        >>> from weightatlas.symmetry.verify import spec_of
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> encoder = Activation(ActivationConfig(images=16), spec_of(network, (4,)))
        >>> encoder.bind(network, torch.randn(16, 4))
        >>> encoder.code_shape(encoder.spec)
        (1, 37)

    Args:
        config: Code size and pool.
        spec: Layout of the networks.
    """

    Settings: ClassVar[type[Config]] = ActivationConfig
    accepts = "one"
    name = "activation"
    executes = True
    closed_form = True
    queries: Float[Tensor, "queries *rest"]
    ranks: Int[Tensor, " layers"]

    def __init__(self, config: ActivationConfig, spec: NetworkSpec | None = None) -> None:
        super().__init__(config, spec)
        if spec is None or spec.input_shape is None:
            raise SpecError("The encoder 'activation' needs a traced layout with an input shape.")
        self.settings, self.layout = config, spec
        self.layers = coded_layers(spec)
        if not self.layers:
            raise SpecError(
                f"The encoder '{self.name}' codes dense layers and plain convolutions; this layout has none.",
                todo="Pick another autoencoder, for example 'sane' or 'pca'.",
            )
        self.budget = int(spec.params / config.ratio)
        coded = {name for layer in self.layers for name in layer.names}
        self.kept = [tensor for tensor in spec.tensors if tensor.name not in coded]
        self.raw = [tensor.name for tensor in self.kept]
        self.raw_numbers = sum(tensor.size for tensor in self.kept)
        ranks = even_ranks(self.layers, self.budget - self.raw_numbers)
        self.register_buffer("ranks", torch.tensor(ranks))
        self.register_buffer("queries", torch.zeros(config.images, *spec.input_shape))
        self.program: Program | None = None
        self.workers = 1
        self.chunk: int | None = None

    def bind(self, network: nn.Module, inputs: Tensor | None = None) -> None:
        """Give the encoder the code of the networks and, once, the images to run it on.

        Args:
            network: Any network of the spec; its own weights are ignored.
            inputs: Unlabelled inputs, shape `(at least config.images, ...)`; none keeps those it has.

        Raises:
            DataError: There are fewer inputs than `config.images`.
        """
        self.program, self.chunk = program_of(prepare(network, training=False)), None
        self.workers = torch.get_num_threads() if self.queries.device.type == "cpu" else 1
        if inputs is None:
            return
        if len(inputs) < self.settings.images:
            raise DataError(
                f"Activation codes were to use {self.settings.images} images, the pool has {len(inputs)}.",
                todo=f"Lower the setting: images={len(inputs)}.",
            )
        self.queries.copy_(inputs[: self.settings.images])

    @torch.no_grad()
    def adapt(self, batch: Batch) -> None:
        """Share the code numbers among layers by the output energy they save in training networks."""
        values = torch.cat([group.values for group in batch])
        step = max(len(values) // self.settings.sample, 1)
        values = values[::step][: self.settings.sample]
        saved = [torch.zeros(layer.columns, dtype=torch.float64) for layer in self.layers]

        def shares(part: Tensor) -> list[Tensor]:
            tape, found = self.tape(part), []
            for index, columns in self.stream(tape):
                energy, axes = torch.linalg.eigh(second_moment(columns))
                on_axes = self.layers[index].read(tape.state).double() @ axes
                share = energy.clamp(min=0) * on_axes.square().sum(1)
                found.append((share / share.sum(1, keepdim=True)).flip(1).sum(0).cpu())
            return found

        for found in self.in_chunks(shares, values):
            for total, share in zip(saved, found, strict=True):
                total += share / len(values)
        ranks = share_ranks(self.layers, saved, self.budget - self.raw_numbers)
        self.ranks.copy_(torch.tensor(ranks))

    def encode(self, weights: Weights) -> Encoded:
        """Fit codes layer by layer, in closed form."""
        return self.encode_rounded(weights, None)

    @torch.no_grad()
    def encode_rounded(self, weights: Weights, rounding: Coarsening | None) -> Encoded:
        """Fit codes layer by layer and round each before the next is fitted.

        Later layers are then fitted to what a decoder of the rounded codes will run. Codes that are
        rounded afterwards are worth little: the first rounded layer changes the inputs, and with them
        the eigenvectors, of all others.

        Args:
            weights: Networks to encode.
            rounding: What each number of a code loses: a `Rounding` or a `Selection`; none keeps them exact.
        """
        self.require(weights.spec)
        parts = self.in_chunks(lambda part: self._encode(part, rounding), weights.values)
        codes = torch.cat([flat for flat, _ in parts])[:, None]
        return Encoded(codes, full_mask(codes), torch.cat([embedding for _, embedding in parts]))

    def code_shape(self, spec: NetworkSpec) -> tuple[int, int]:
        """Return (1, numbers), a few of them unused."""
        self.require(spec)
        return 1, self.budget

    def places(self) -> list[slice]:
        """Say which numbers of a code are what: each tensor kept as it is, then each coded layer."""
        sizes = [tensor.size for tensor in self.kept]
        sizes += [layer.rows * int(r) for layer, r in zip(self.layers, self.ranks.tolist(), strict=True)]
        stops = list(accumulate(sizes, initial=0))
        return [slice(start, stop) for start, stop in pairwise(stops)]

    def units(self, codes: Float[Tensor, "networks codes width"]) -> Float[Tensor, " width"]:
        """Return the scale on which each number of a code matters: the size of its neuron's output.

        A tensor that is kept as it is has its own root mean square. Units fall to a third towards the
        output, since no later layer makes up for late errors (a third did best on validation networks).

        Args:
            codes: Codes of training networks.
        """
        energy = codes[:, 0].double().square().mean(0)
        units = torch.ones_like(energy)
        for number, place in enumerate(self.places()):
            layer = number - len(self.raw)
            rank = 1 if layer < 0 else int(self.ranks[layer])
            depth = max(layer, 0) / max(len(self.layers) - 1, 1)
            units[place] = (energy[place].mean() * rank).sqrt().clamp_min(1e-12) / (1 + 2 * depth**2)
        return units.float()

    @torch.no_grad()
    def decode(self, codes: Float[Tensor, "networks codes width"], spec: NetworkSpec) -> Decoded:
        """Rebuild networks layer by layer, running what is already decoded on the shared images."""
        self.require(spec)
        return Decoded(torch.cat(self.in_chunks(self._decode, codes[:, 0])))

    def chart(self, codes: Float[Tensor, "networks codes width"], spec: NetworkSpec) -> Chart:
        """Refine in weight space, within the bases of the current networks."""
        return basis_chart(self, self.decode(codes, spec).weights)

    def in_chunks(self, work: Callable[[Tensor], Any], values: Tensor) -> list[Any]:
        """Work on a few networks at a time, side by side on one-thread workers."""
        if self.chunk is None:
            one = self.tape(values.new_zeros(1, self.layout.params))
            most = max((columns.numel() for _, columns in self.stream(one)), default=1)
            self.chunk = min(max(UNFOLDED // most, 1), CHUNK)
        return side_by_side(work, values.split(self.chunk), self.workers)

    def _encode(
        self, values: Float[Tensor, "networks params"], rounding: Coarsening | None
    ) -> tuple[Tensor, Tensor]:
        original, rebuilt = self.tape(values), self.tape(values, only=self.raw)
        places, marks = self.places(), []
        codes = values.new_zeros(len(values), self.budget)
        for name, place in zip(self.raw, places, strict=False):
            codes[:, place] = rounded(original.state[name].flatten(1), place, rounding)
            rebuilt.state[name] = codes[:, place].reshape_as(original.state[name])
        for (index, a), (_, b) in zip(self.stream(original), self.stream(rebuilt), strict=True):
            rows = self.layers[index].read(original.state)
            moment = second_moment(b)
            basis, energy = self.basis(index, moment, len(values))
            # Least squares of the original's outputs on decoded inputs, in eigenvector coordinates.
            mixed = torch.bmm(basis.transpose(1, 2), cross_moment(b, a, len(values)))
            code = torch.bmm(rows, mixed.transpose(1, 2)) / energy.sqrt()[:, None]  # in units of outputs
            marks += [code.mean(1), code.std(1, correction=0)]
            place = places[len(self.raw) + index]
            codes[:, place] = rounded(code.flatten(1), place, rounding)
            self.set_code(rebuilt.state, index, codes[:, place], basis, energy)
        return codes, torch.cat(marks, dim=1)

    def _decode(self, codes: Float[Tensor, "networks width"]) -> Float[Tensor, "networks params"]:
        places = self.places()
        tape = self.tape(codes.new_zeros(len(codes), self.layout.params), only=[])
        for tensor, place in zip(self.kept, places, strict=False):
            kept = codes[:, place].reshape(len(codes), *tensor.shape)
            # Drawn codes may hold negative variances, of which norms take roots.
            tape.state[tensor.name] = kept.clamp_min(1e-30) if tensor.role == "running_var" else kept
        for index, columns in self.stream(tape):
            basis, energy = self.basis(index, second_moment(columns), len(codes))
            self.set_code(tape.state, index, codes[:, places[len(self.raw) + index]], basis, energy)
        return torch.cat([tape.state[t.name].flatten(1) for t in self.layout.tensors], dim=1)

    def set_code(
        self, state: dict[str, Tensor], index: int, code: Tensor, basis: Tensor, energy: Tensor
    ) -> None:
        """Turn a layer's code numbers into its weights.

        They are damped towards zero where inputs hardly vary: these directions are arbitrary, and found
        otherwise by every run, so that nothing may depend on what a code says about them.
        """
        damped = energy.sqrt() / (energy + self.settings.ridge * energy.mean(1, keepdim=True))
        code = code.reshape(len(code), self.layers[index].rows, -1)
        self.layers[index].write(state, torch.bmm(code * damped[:, None], basis.transpose(1, 2)))

    def basis(self, index: int, moment: Tensor, networks: int) -> tuple[Tensor, Tensor]:
        """Return the leading eigenvectors of a layer's inputs and their energies, for every network."""
        axes, energy = leading_axes(moment, int(self.ranks[index]), bool(self.layers[index].bias))
        kind = self.queries.dtype
        return axes.to(kind).expand(networks, -1, -1), energy.to(kind).expand(networks, -1)

    def stream(self, tape: Tape) -> Iterator[tuple[int, Float[Tensor, "_ columns samples"]]]:
        """Run a network and stop before each coded layer, so that its weights can be set first.

        Yields the layer's index and its inputs as columns, with a last row of ones if it has a bias.
        """
        if self.program is None:
            todo = "Call encoder.bind(network) with a network of these weights, for example zoo.network()."
            raise NoCode("Activation codes run the networks they code, and no code is known.", todo=todo)
        slots = {0: batch_last(self.queries[None])}
        places = {layer.weight: index for index, layer in enumerate(self.layers)}
        for step in self.program.steps:
            inputs = [slots[i] for i in step.inputs]
            index = places.get(step.operation.tensors[0]) if step.operation.tensors else None
            if index is not None:
                yield index, columns_of(step.operation, inputs[0], self.layers[index])
            slots[step.output] = step.operation.forward(tape, *inputs)

    def tape(self, values: Float[Tensor, "networks params"], only: list[str] | None = None) -> Tape:
        """Prepare a run; `only` limits the tensors that are known at its start."""
        state = unflatten(values, self.layout)
        return Tape({n: state[n] for n in (state if only is None else only)}, len(values), Workspace())
