"""NFN-HNP: published size, invariance, scaling that commutes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.weights.architectures import build
from weightatlas.encoders.base import Encoder
from weightatlas.encoders.heads import HeadConfig, PropertyHead
from weightatlas.encoders.io import create_encoder
from weightatlas.errors import DataError, SpecError
from weightatlas.fit.presets import preset
from weightatlas.networks.registry import create_network
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import Batch, batch_of, weights_of
from weightatlas.weights.spec import NetworkSpec

HEAD = HeadConfig(hidden=(1000, 1000))


def zoo_spec() -> NetworkSpec:
    """The 4,970-parameter CNN of the small-CNN zoo."""
    return spec_of(create_network("cnn_unterthiner"), (1, 32, 32))


def inr_spec() -> NetworkSpec:
    """The 1,153-parameter SIREN of the sine zoo."""
    return spec_of(create_network("siren", coordinates=1, outputs=1), (1,))


def size(name: str, spec: NetworkSpec, head: HeadConfig = HEAD) -> int:
    """Numbers of a preset's encoder with a head."""
    chosen = preset(name)
    encoder = create_encoder(chosen.encoder, spec, **chosen.settings)
    width = encoder.eval().encode(weights_of(torch.zeros(2, spec.params), spec)).embedding.shape[1]
    return sum(p.numel() for module in (encoder, PropertyHead(width, 1, head)) for p in module.parameters())


def embedding(encoder: Encoder, values: Tensor, spec: NetworkSpec) -> Tensor:
    return encoder.encode(weights_of(values, spec)).embedding


def check_invariance(name: str, architecture: str, seed: int, **chosen: object) -> None:
    """Compare embeddings of networks, of permuted ones, and of wrongly permuted ones."""
    torch.manual_seed(seed)
    network, shape, _ = build(architecture)
    spec = spec_of(network, shape)
    encoder = create_encoder(name, spec, seed=seed, **chosen)
    encoder.adapt(batch_of(torch.randn(20, spec.params) * torch.linspace(0.5, 2, spec.params), spec))
    encoder = encoder.double().eval()
    values = torch.randn(3, spec.params, dtype=torch.float64)
    permuted = permute(values, sample(spec, 3), spec)
    found, same = embedding(encoder, values, spec), embedding(encoder, permuted, spec)
    torch.testing.assert_close(found, same, rtol=1e-8, atol=1e-10)
    largest = max(range(len(spec.tensors)), key=lambda index: spec.tensors[index].size)
    part = spec.slices[spec.tensors[largest].name]
    wrong = values.clone()
    wrong[:, part] = values[:, part].flip(1)
    assert (embedding(encoder, wrong, spec) - found).abs().max() > 1e-7 * found.abs().max()


@pytest.mark.parametrize(
    "architecture", ["cnn_flatten", "residual", "padded", "concat", "attention", "words"]
)
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_embedding_ignores_permutations(architecture: str, seed: int):
    check_invariance("nfn_hnp", architecture, seed, channels=(4, 3))


def test_features_for_implicit_representations_keep_the_invariance():
    check_invariance("nfn_hnp", "mlp_layer_norm", 3, channels=(4, 3), fourier=5, bands=3, dropout=0.2)


@pytest.mark.parametrize("normalize", ["orbit", "tensor", "none"])
def test_every_scaling_keeps_the_invariance(normalize: str):
    check_invariance("nfn_hnp", "cnn_flatten", 4, channels=(4, 3), normalize=normalize)


def test_published_sizes():
    assert size("nfn_hnp_cnn", zoo_spec()) == pytest.approx(2_811_743, rel=0.1)
    assert size("nfn_hnp_sine", inr_spec()) == pytest.approx(2.8e6, rel=0.1)


def test_width_of_the_embedding():
    encoder = create_encoder("nfn_hnp", zoo_spec())
    assert embedding(encoder, torch.randn(2, 4970), zoo_spec()).shape == (
        2,
        5 * (9 + 1 + 9 + 1 + 9 + 1 + 10 + 10),
    )


def test_scaling_is_fitted_and_saved():
    spec = zoo_spec()
    encoder = create_encoder("nfn_hnp", spec)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder.adapt(batch_of(2 + torch.randn(30, spec.params), spec))
    changed = [name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == ["mean", "std"]


def test_gradients_reach_the_weights_of_the_networks():
    spec = inr_spec()
    encoder = create_encoder("nfn_hnp", spec).double()
    values = torch.randn(2, spec.params, dtype=torch.float64, requires_grad=True)
    embedding(encoder, values, spec).sum().backward()
    assert values.grad is not None
    assert bool((values.grad != 0).any(0).all())


def test_no_networks_and_no_groups_are_refused():
    encoder = create_encoder("nfn_hnp", inr_spec())
    with pytest.raises(DataError, match="no training networks"):
        encoder.adapt(Batch(()))
    with pytest.raises(SpecError, match="knows no permutation group"):
        create_encoder("nfn_hnp", spec_of(nn.Linear(3, 2), (3,)))
    with pytest.raises(SpecError, match="works on one layout"):
        create_encoder("nfn_hnp")
