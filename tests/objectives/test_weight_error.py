"""Weight error: zero for a perfect rebuild, in each tensor's own unit, blind to neuron order and padding."""

import torch
from torch.nn import functional as F

from tests.encoders import ladder
from weightatlas.encoders.io import create_encoder
from weightatlas.encoders.netspace import NetSpace
from weightatlas.objectives.space import SpaceConfig, SpaceLoss, SpaceStep
from weightatlas.objectives.weight_error import read_by, weight_errors
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.weights.batch import weights_of

RUNGS = torch.tensor([2, 0, 1, 0])


def make(align: bool = True) -> NetSpace:
    encoder = create_encoder("netspace", ladder=ladder.specs(), dim=6, width=8, hidden=8, align=align)
    assert isinstance(encoder, NetSpace)
    encoder.adapt(ladder.batch())
    return encoder


def rebuilt(encoder: NetSpace, codes: torch.Tensor) -> torch.Tensor:
    """What the codes decode to, one by one, behind it padding that must not count."""
    rows = []
    for row, rung in enumerate(RUNGS.tolist()):
        weights = encoder.decode(codes[row : row + 1], ladder.specs()[rung]).weights[0]
        rows.append(F.pad(weights, (0, ladder.specs()[-1].params - len(weights)), value=99.0))
    return torch.stack(rows).detach()


def test_a_perfect_rebuild_has_no_error() -> None:
    encoder, codes = make(), torch.randn(4, 1, 6)
    assert torch.allclose(weight_errors(encoder, codes, RUNGS, rebuilt(encoder, codes)), torch.zeros(4))


def test_errors_are_measured_in_the_spread_of_each_tensor() -> None:
    encoder, codes = make(), torch.randn(4, 1, 6)
    originals = rebuilt(encoder, codes)
    for row, rung in enumerate(RUNGS.tolist()):
        originals[row, : ladder.specs()[rung].params] += 0.5 * encoder.scale(ladder.specs()[rung])
    torch.testing.assert_close(weight_errors(encoder, codes, RUNGS, originals), torch.full((4,), 0.25))


def test_originals_stand_in_the_order_in_which_the_encoder_reads_them() -> None:
    spec, values = ladder.specs()[1], ladder.values(1, 5)
    turned = permute(values, sample(spec, 5, torch.Generator().manual_seed(1)), spec)
    assert not torch.equal(values, turned)
    for align in (True, False):
        encoder = make(align)
        first, second = (read_by(encoder, weights_of(given, spec)) for given in (values, turned))
        assert first.shape == (5, ladder.specs()[-1].params)
        assert not first[:, spec.params :].any()
        assert torch.equal(first, second) is align
        assert torch.equal(encoder.encode(weights_of(first[:, : spec.params], spec)).codes[0], code(encoder))


def code(encoder: NetSpace) -> torch.Tensor:
    return encoder.encode(weights_of(ladder.values(1, 5), ladder.specs()[1])).codes[0]


def test_gradients_reach_encoder_and_decoder_but_no_original() -> None:
    encoder, batch = make(), ladder.batch((2, 0, 1))
    originals = torch.cat([read_by(encoder, group) for group in batch]).requires_grad_()
    codes = torch.cat([encoder.encode(group).codes for group in batch])
    rungs = torch.tensor([0, 0, 2])
    step = SpaceStep(encoder, (), codes, rungs, ladder.queries(), None, originals)
    found = SpaceLoss(SpaceConfig(compare="weights"))(step)
    torch.testing.assert_close(found["loss"], found["weights"] + found["class"])
    found["loss"].backward()
    assert originals.grad is None
    moved = {
        name.split(".")[0] for name, p in encoder.named_parameters() if p.grad is not None and p.grad.any()
    }
    assert moved == {"encoder", "decoder", "head"}
