"""Work on weights: tokens, permutations, matching and layer statistics, against loops over networks."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from runner import Case, options, run
from torch import Tensor

from weightatlas.networks import create_network, input_shape_of
from weightatlas.population.initialize import initialize
from weightatlas.symmetry.matching import match
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.statistics import layer_statistics
from weightatlas.weights.tokens import detokenize, layout, tokenize


def population(name: str, count: int) -> tuple[NetworkSpec, Tensor]:
    """Fresh networks as rows."""
    spec = spec_of(create_network(name), input_shape_of(name))
    return spec, initialize(spec, torch.arange(count), "kaiming_uniform")


def tensors(spec: NetworkSpec, row: Tensor) -> dict[str, Tensor]:
    """One network as a state dict."""
    return {t.name: row[spec.slices[t.name]].reshape(t.shape) for t in spec.tensors}


def tokens_of(state: dict[str, Tensor], width: int) -> tuple[Tensor, Tensor]:
    """Cut one state dict into tokens as published code does: row by row, bias appended, padded."""
    rows, masks = [], []
    for name, weight in state.items():
        if not name.endswith("weight"):
            continue
        flat = weight.reshape(len(weight), -1)
        bias = state.get(name.replace("weight", "bias"))
        flat = flat if bias is None else torch.cat([flat, bias[:, None]], dim=1)
        for row in flat:
            for piece in row.split(width):
                rows.append(torch.nn.functional.pad(piece, (0, width - len(piece))))
                masks.append(torch.arange(width) < len(piece))
    return torch.stack(rows), torch.stack(masks)


def tokens_case(count: int) -> Case:
    spec, values = population("cnn3", count)
    plan, few = layout(spec), min(count, 20)

    def ours() -> None:
        detokenize(tokenize(values, plan), plan)

    def plain() -> None:
        for row in values[:few]:
            state = tensors(spec, row)
            found, masks = tokens_of(state, plan.width)
            found[masks]  # back to one vector

    return Case(
        "tokenize and detokenize", f"cnn3, networks={count}", ours, plain, "loop over rows", count, few
    )


def permute_case(count: int) -> Case:
    spec, values = population("cnn3", count)
    perms, few = sample(spec, count), min(count, 50)

    def plain() -> None:
        for row, *own in zip(values[:few], *(group[:few] for group in perms), strict=True):
            permuted(tensors(spec, row), own)

    size = f"cnn3, networks={count}"
    return Case("permute", size, lambda: permute(values, perms, spec), plain, "loop over layers", count, few)


def permuted(state: dict[str, Tensor], perms: list[Tensor]) -> dict[str, Tensor]:
    """Permute one plain CNN by hand: outputs of every layer but the last, inputs of the next."""
    names = [name for name in state if name.endswith("weight")]
    found = dict(state)
    for (first, second), perm in zip(pairwise(names), perms, strict=True):
        bias = first.replace("weight", "bias")
        found[first], found[bias] = found[first][perm], found[bias][perm]
        weight = found[second]
        if weight.shape[1] == len(perm):
            found[second] = weight[:, perm]
        else:
            found[second] = weight.view(len(weight), len(perm), -1)[:, perm].reshape(weight.shape)
    return found


def match_case(count: int) -> Case:
    spec, values = population("cnn3", count + 1)
    few = min(count, 5)

    def plain() -> None:
        for row in values[1 : few + 1]:
            rebasin(tensors(spec, row), tensors(spec, values[0]))

    size = f"cnn3, networks={count}"
    return Case("match weights", size, lambda: match(values[1:], values[0], spec), plain, "loop", count, few)


def rebasin(state: dict[str, Tensor], reference: dict[str, Tensor], sweeps: int = 100) -> None:
    """Match one plain CNN to a reference as published code does it: greedy coordinate ascent."""
    from scipy.optimize import linear_sum_assignment

    names = [name for name in state if name.endswith("weight")]
    perms = [torch.arange(len(state[name])) for name in names[:-1]]
    for _ in range(sweeps):
        moved = False
        for place in torch.randperm(len(perms)).tolist():
            others = [perm if i != place else torch.arange(len(perm)) for i, perm in enumerate(perms)]
            own, gain = permuted(state, others), 0
            first, second = names[place], names[place + 1]
            for key in (first, first.replace("weight", "bias")):
                gain = (
                    gain
                    + reference[key].reshape(len(perms[place]), -1)
                    @ own[key].reshape(len(perms[place]), -1).T
                )
            pair = [
                w[second].reshape(len(w[second]), len(perms[place]), -1).transpose(0, 1)
                for w in (reference, own)
            ]
            gain = gain + pair[0].reshape(len(perms[place]), -1) @ pair[1].reshape(len(perms[place]), -1).T
            found = torch.from_numpy(linear_sum_assignment(gain.numpy(), maximize=True)[1])
            score = [float(gain.gather(1, p[:, None]).sum()) for p in (found, perms[place])]
            moved = moved or score[0] > score[1] + 1e-6
            perms[place] = found
        if not moved:
            return


def statistics_case(count: int, name: str = "digits_cnn") -> Case:
    spec, values = population(name, count)
    quantiles, few = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]), min(count, 200)

    def plain() -> None:
        for row in values[:few]:
            parts = []
            for tensor in tensors(spec, row).values():
                flat = tensor.flatten()
                parts += [flat.mean()[None], flat.std(unbiased=False)[None], flat.quantile(quantiles)]
            torch.cat(parts)

    size = f"{name}, networks={count}"
    return Case("layer statistics", size, lambda: layer_statistics(values, spec), plain, "loop", count, few)


def cases(quick: bool) -> Iterator[Case]:
    """All cases, small ones first."""
    sizes = [(tokens_case, (10, 100, 1000)), (permute_case, (10, 100, 1000))]
    sizes += [(match_case, (10, 100)), (statistics_case, (100, 1000, 10000))]
    for make, counts in sizes:
        for count in (2,) if quick else counts:
            yield make(count)
    yield statistics_case(2 if quick else 10000, "cnn_unterthiner")


if __name__ == "__main__":
    args = options(__doc__)
    run(cases(args.quick), args.repeats, args.out, "python speed/weights.py")
