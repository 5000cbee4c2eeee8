"""The compact NetSpace: padding, scaling, its first network, alignment."""

import pytest
import torch

from tests.encoders import ladder, small
from weightatlas.encoders.io import create_encoder
from weightatlas.encoders.netspace import NetSpace, row_statistics
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.weights.batch import batch_of, weights_of
from weightatlas.weights.scaling import fit_scaling


def make(**settings: object) -> NetSpace:
    encoder = create_encoder(
        "netspace", ladder=ladder.specs(), **{"dim": 6, "width": 8, "hidden": 8, **settings}
    )
    assert isinstance(encoder, NetSpace)
    return encoder.eval()


def test_row_statistics_leave_padding_out() -> None:
    prep = torch.tensor([[[3.0, -1.0, 0.0, 0.0], [-2.0, -4.0, -1.0, -1.0], [0.0, 0.0, 0.0, 0.0]]])
    mask = torch.tensor([[True, True, False, False], [True] * 4, [False] * 4])
    found = row_statistics(prep, mask)[0]
    torch.testing.assert_close(found[0], torch.tensor([1.0, 5**0.5, 2.0, 3.0, -1.0, 0.5]))
    torch.testing.assert_close(found[1], torch.tensor([-2.0, 5.5**0.5, 2.0, -1.0, -4.0, 1.0]))
    assert torch.equal(found[2], torch.zeros(6))


def test_training_starts_at_the_best_training_network() -> None:
    encoder = make()
    batch = ladder.batch((4, 4, 4))
    scores = torch.zeros(12)
    scores[[2, 5, 8]] = 1.0
    encoder.adapt(type(batch)(batch.groups, {"val_acc": scores}))
    assert encoder.decoder.affine.weight is not None
    with torch.no_grad():
        encoder.decoder.affine.weight.zero_()
    for group, best in zip(batch.groups, (2, 1, 0), strict=True):
        rebuilt = encoder.decode(torch.randn(1, 1, 6), group.spec).weights[0]
        torch.testing.assert_close(rebuilt, group.values[best], rtol=1e-4, atol=1e-5)


def test_weights_are_standardized_with_stored_statistics() -> None:
    encoder, batch = make(), ladder.batch()
    encoder.adapt(batch)
    scaling = fit_scaling(batch.groups[1].values, ladder.specs()[1])
    params = ladder.specs()[1].params
    torch.testing.assert_close(encoder.std[1, :params], scaling.std)
    torch.testing.assert_close(encoder.scale(ladder.specs()[1]), scaling.std)
    assert (encoder.std[:, encoder.plans[1].params :] > 0).all()


def test_architectures_without_training_networks_take_the_spread_of_fresh_ones() -> None:
    encoder = make()
    encoder.adapt(ladder.batch((4, 0, 4)))
    spec = ladder.specs()[1]
    part = encoder.scale(spec)[spec.slices["2.weight"]]
    torch.testing.assert_close(part, torch.full_like(part, (3 * ladder.WIDTHS[1]) ** -0.5))
    assert not encoder.aligns[1]
    assert encoder.aligns[0]


def test_aligned_codes_do_not_depend_on_the_order_of_neurons() -> None:
    spec, values = ladder.specs()[2], ladder.values(2, 5)
    turned = permute(values, sample(spec, 5, torch.Generator().manual_seed(1)), spec)
    assert not torch.allclose(turned, values)
    for align in (True, False):
        encoder = make(align=align, features=3)
        encoder.adapt(ladder.batch())
        first, second = (encoder.encode(weights_of(v, spec)).codes for v in (values, turned))
        # Distinct weights have distinct inner products, so matching undoes the permutation.
        assert torch.allclose(first, second, atol=1e-4) == align


def test_padding_of_the_decoded_prep_reaches_nothing() -> None:
    encoder = make()
    codes = torch.randn(2, 1, 6)
    before = encoder.decode(codes, ladder.specs()[0]).weights
    with torch.no_grad():
        bias = encoder.decoder.affine.bias
        assert bias is not None
        bias[0].view(-1)[ladder.specs()[0].params :] = 1e6
    assert torch.equal(encoder.decode(codes, ladder.specs()[0]).weights, before)


@pytest.mark.parametrize("part", ["affine_weight", "affine_bias"])
def test_parts_of_the_affine_can_be_switched_off(part: str) -> None:
    encoder = create_encoder("netspace", small.spec(), dim=6, width=8, **{part: False})
    assert isinstance(encoder, NetSpace)
    encoder.adapt(batch_of(small.values(4), small.spec()))
    assert getattr(encoder.decoder.affine, part.removeprefix("affine_")) is None
    assert torch.isfinite(encoder.reconstruct(weights_of(small.values(2), small.spec()))).all()
