"""NFT: published size, equivariant attention, invariance, INR2ARRAY's latent array."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.encoders.test_nfn_hnp import check_invariance, inr_spec, size
from tests.encoders.test_orbits import permute_blocks
from tests.weights.architectures import build
from weightatlas.encoders.heads import HeadConfig
from weightatlas.encoders.io import create_encoder
from weightatlas.encoders.nft import EquivariantAttention, NftBlock, NftConfig
from weightatlas.encoders.orbits import layout_of
from weightatlas.errors import ConfigError
from weightatlas.symmetry.permutation import sample
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import weights_of

SMALL = {"dim": 8, "blocks": 2, "heads": 2}


@pytest.mark.parametrize("architecture", ["cnn_flatten", "residual", "attention", "words"])
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_embedding_ignores_permutations(architecture: str, seed: int):
    check_invariance("nft", architecture, seed, **SMALL)


def test_the_latent_array_ignores_permutations():
    check_invariance("nft", "cnn_flatten", 5, **SMALL, latents=3, fourier=4)


@pytest.mark.parametrize("architecture", ["mlp_layer_norm", "cnn_flatten", "words"])
def test_blocks_commute_with_permutations(architecture: str):
    network, shape, _ = build(architecture)
    spec = spec_of(network, shape)
    layout = layout_of(spec, ends=True)
    block = NftBlock(layout, NftConfig(**SMALL)).double().eval()  # pyright: ignore[reportArgumentType]
    values = torch.randn(2, spec.params, 8, dtype=torch.float64)[:, layout.order]
    x = [part.flatten(-2) for part in layout.split(values)]
    perms = sample(spec, 2)
    moved = permute_blocks(block(x), layout, perms)
    again = block(permute_blocks(x, layout, perms))
    for one, two, before in zip(moved, again, x, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-10)
        assert one.shape == before.shape


def test_attention_equals_the_written_out_sum():
    """One hidden layer: tokens are the columns of the first weight, its bias, the rows of the second."""
    spec = spec_of(torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)), (2,))
    layout = layout_of(spec, ends=True)
    layer = EquivariantAttention(layout, 6, 1, 0.0).double()
    x = [torch.randn(1, *b.sizes, 6, dtype=torch.float64) for b in layout.blocks]
    found = layer(x)
    qkv = [layer.qkv["1"](part)[0] for part in x]

    def attend(tokens: torch.Tensor) -> torch.Tensor:
        q, k, v = tokens.chunk(3, dim=-1)
        q, k, v = (part.flatten(1) for part in (q, k, v))
        return (torch.softmax(q @ k.T / q.shape[1] ** 0.5, dim=-1) @ v).view(len(tokens), -1, 6)

    means = torch.stack([part.flatten(0, -2).mean(0) for part in qkv])
    between = attend(means[:, None])[:, 0]
    hidden = attend(torch.cat([qkv[0].transpose(0, 1), qkv[1][None], qkv[2]]))
    inputs, outputs = attend(qkv[0]), attend(torch.cat([qkv[2].transpose(0, 1), qkv[3][None]]))
    expected = [
        between[0] + hidden[:2].transpose(0, 1) + inputs,
        between[1] + hidden[2],
        between[2] + hidden[3:] + outputs[:4].transpose(0, 1),
        between[3] + outputs[4],
    ]
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one[0], two, rtol=1e-9, atol=1e-11)


def test_published_size():
    assert size("nft_sine", inr_spec(), HeadConfig(hidden=(512, 512))) == pytest.approx(6e6, rel=0.1)


def test_codes_of_the_latent_array():
    spec = inr_spec()
    encoder = create_encoder("nft", spec, **SMALL, latents=5).eval()
    encoded = encoder.encode(weights_of(torch.randn(3, spec.params), spec))
    assert encoded.codes.shape == (3, 5, 8)
    torch.testing.assert_close(encoded.embedding, encoded.codes.mean(1))


def test_heads_must_divide_the_width():
    with pytest.raises(ConfigError, match="dim=9 is not a multiple of heads=2"):
        create_encoder("nft", inr_spec(), dim=9, heads=2)
