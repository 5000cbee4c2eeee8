"""NFN-NP: published size, invariance; ends are told apart by learned or sinusoidal vectors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.encoders.test_nfn_hnp import check_invariance, embedding, inr_spec, size, zoo_spec
from weightatlas.encoders.io import create_encoder


@pytest.mark.parametrize("architecture", ["cnn_flatten", "residual", "concat", "attention", "grouped"])
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_embedding_ignores_permutations(architecture: str, seed: int):
    check_invariance("nfn_np", architecture, seed, channels=(4, 3))


@pytest.mark.parametrize("bands", [0, 3])
def test_without_embedded_ends(bands: int):
    check_invariance("nfn_np", "cnn_flatten", 1, channels=(4, 3), embed_ends=False, bands=bands, pool="np")


def test_published_sizes():
    assert size("nfn_np_cnn", zoo_spec()) == pytest.approx(2.03e6, rel=0.01)
    assert size("nfn_np_sine", inr_spec()) == pytest.approx(2.0e6, rel=0.1)


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({"embed_ends": False}, True),
        ({"embed_ends": True}, False),
        ({"embed_ends": False, "bands": 2}, False),
    ],
)
def test_who_is_who_at_the_outputs(settings: dict[str, object], same: bool):
    """Exchange two outputs: only encodings of the ends notice."""
    spec = zoo_spec()
    base = {"channels": (4, 3), "pool": "np", "normalize": "tensor"}
    encoder = create_encoder("nfn_np", spec, **base, **settings).double().eval()
    values = torch.randn(2, spec.params, dtype=torch.float64)
    exchanged = values.clone()
    for tensor, part in zip(spec.tensors, spec.slices.values(), strict=True):
        if tensor.shape[0] == 10:
            rows = values[:, part].unflatten(1, (10, -1))
            exchanged[:, part] = rows.flip(1).flatten(1)
    one, two = embedding(encoder, values, spec), embedding(encoder, exchanged, spec)
    assert torch.allclose(one, two, rtol=1e-8, atol=1e-10) is same
