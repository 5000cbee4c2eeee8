"""REPAIR: the statistics it promises, ends untouched, nothing without biases."""

import pytest
import torch
from torch import nn

from tests.population.small import make, reference
from weightatlas.errors import DataError
from weightatlas.latent.interpolate import line
from weightatlas.latent.repair import repair
from weightatlas.population.initialize import initialize

AT = torch.tensor([0.0, 0.25, 0.5, 1.0])


def pair() -> tuple[nn.Module, object, torch.Tensor, torch.Tensor]:
    network, spec = make("plain")
    values = initialize(spec, torch.arange(4), "default")
    return network, spec, values[:2], values[2:]


def outputs(
    network: nn.Module, spec: object, row: torch.Tensor, inputs: torch.Tensor, layer: str
) -> torch.Tensor:
    """What a layer puts out in a plain copy of the network."""
    found: list[torch.Tensor] = []
    copy = reference(network, spec, row)  # type: ignore[arg-type]
    copy.get_submodule(layer).register_forward_hook(lambda _m, _i, out: found.append(out.detach()))
    copy(inputs)
    return found[0]


@pytest.mark.parametrize("layer", ["0", "3", "6"])
def test_every_channel_gets_the_statistics_between_those_of_the_ends(layer: str) -> None:
    network, spec, start, end = pair()
    inputs = torch.randn(64, 1, 8, 8)
    middle = line(start, end, AT)
    repaired = repair(network, spec, start, end, middle, AT, inputs)  # type: ignore[arg-type]
    for row in range(2):
        for place, at in enumerate(AT.tolist()):
            outs = [
                outputs(network, spec, w, inputs, layer) for w in (start[row], end[row], repaired[row, place])
            ]
            axes = [axis for axis in range(outs[0].ndim) if axis != 1]
            for moment in (torch.mean, lambda x, dim: torch.std(x, dim, correction=0)):
                first, last, found = (moment(out, dim=axes) for out in outs)  # type: ignore[call-arg]
                torch.testing.assert_close(found, (1 - at) * first + at * last, rtol=1e-3, atol=1e-4)


def test_ends_stay_and_averaging_alone_shrinks_the_spread() -> None:
    network, spec, start, end = pair()
    inputs = torch.randn(64, 1, 8, 8)
    middle = line(start, end, AT)
    repaired = repair(network, spec, start, end, middle, AT, inputs, chunk=3)  # type: ignore[arg-type]
    torch.testing.assert_close(repaired[:, [0, 3]], middle[:, [0, 3]], rtol=1e-3, atol=1e-4)
    plain, better = (outputs(network, spec, w[0, 2], inputs, "6").std() for w in (middle, repaired))
    assert plain < 0.9 * better


def test_norms_and_missing_biases_are_refused() -> None:
    network, spec = make("residual")
    values = initialize(spec, torch.arange(2), "default")
    given = (values[:1], values[1:], line(values[:1], values[1:], AT), AT, torch.randn(4, 1, 8, 8))
    with pytest.raises(DataError, match="without norms"):
        repair(network, spec, *given)
    bare = nn.Sequential(nn.Flatten(), nn.Linear(64, 3, bias=False), nn.Linear(3, 2))
    from tests.population.small import spec_by_hand

    layout = spec_by_hand(bare)
    values = initialize(layout, torch.arange(2), "default")
    given = (values[:1], values[1:], line(values[:1], values[1:], AT), AT, torch.randn(4, 1, 8, 8))
    with pytest.raises(DataError, match="has none"):
        repair(bare, layout, *given)
