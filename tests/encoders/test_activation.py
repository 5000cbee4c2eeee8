"""Activation codes: exact at full rank, closer than PCA at equal size, indifferent to neuron order."""

from typing import Any

import pytest
import torch
from torch import nn

from weightatlas.encoders.activation import Activation, ActivationConfig
from weightatlas.encoders.activation_chart import bases, project
from weightatlas.encoders.io import create_encoder, from_pretrained, save_pretrained
from weightatlas.encoders.rounding import fit_rounding
from weightatlas.errors import ConfigError, DataError, NoCode, SpecError
from weightatlas.networks import create_network, input_shape_of
from weightatlas.population.forward import Population
from weightatlas.population.initialize import initialize
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import Batch, Weights, batch_of, weights_of
from weightatlas.weights.spec import NetworkSpec

# A small residual network for small images: unfolded inputs of the standard one take half a minute.
OPTIONS: dict[str, dict[str, Any]] = {"resnet_small": {"channels_in": 1, "image_size": 8, "widths": (6, 12)}}
SHAPES = {"resnet_small": (1, 8, 8)}


def made(
    name: str, count: int = 4, **settings: float
) -> tuple[Activation, nn.Module, NetworkSpec, torch.Tensor]:
    network, shape = create_network(name, **OPTIONS.get(name, {})), SHAPES.get(name) or input_shape_of(name)
    spec = spec_of(network, shape)
    encoder = create_encoder("activation", spec, images=64, **settings)
    assert isinstance(encoder, Activation)
    encoder.bind(network, torch.randn(64, *shape))
    values = initialize(spec, torch.arange(count), ["kaiming_normal"] * count)
    return encoder, network, spec, values + 0.05 * torch.randn_like(values)


def outputs(
    network: nn.Module, spec: NetworkSpec, values: torch.Tensor, inputs: torch.Tensor
) -> torch.Tensor:
    return Population(network, spec, engine="vmap")(values, inputs)


@pytest.mark.parametrize("name", ["digits_cnn", "mlp", "cnn_unterthiner", "resnet_small"])
def test_full_rank_codes_keep_the_function_on_the_pool(name: str) -> None:
    encoder, network, spec, values = made(name, count=2, ratio=1.0, ridge=1e-7)
    rebuilt = encoder.reconstruct(weights_of(values, spec))
    expected = outputs(network, spec, values, encoder.queries)
    error = (outputs(network, spec, rebuilt, encoder.queries) - expected).square().mean().sqrt()
    assert error < 0.05 * expected.std()


def test_codes_beat_pca_of_the_same_size_in_behavior() -> None:
    encoder, network, spec, values = made("digits_cnn", count=12, ratio=1.8)
    encoder.adapt(batch_of(values, spec))
    pca = create_encoder("pca", spec, latent=28)
    pca.adapt(batch_of(values[:6], spec))
    inputs = torch.randn(100, 1, 8, 8)
    expected = outputs(network, spec, values[6:], inputs)
    errors = []
    for coder in (encoder, pca):
        rebuilt = coder.reconstruct(weights_of(values[6:], spec))  # type: ignore[operator]
        errors.append(float((outputs(network, spec, rebuilt, inputs) - expected).square().mean().detach()))
    assert encoder.code_numbers(spec) <= 28 * 54 + 20
    assert errors[0] < 0.2 * errors[1]


def test_decoding_needs_the_code_alone() -> None:
    encoder, _, spec, values = made("digits_cnn")
    codes = encoder.encode(weights_of(values, spec)).codes
    together = encoder.decode(codes, spec).weights
    alone = encoder.decode(codes[2:3], spec).weights
    assert torch.allclose(together[2:3], alone, atol=1e-4)
    assert not torch.allclose(together[2], together[1], atol=1e-2)


def output_error(encoder: Activation, network: nn.Module, values: torch.Tensor, codes: torch.Tensor) -> float:
    spec = encoder.layout
    expected = outputs(network, spec, values, encoder.queries)
    rebuilt = encoder.decode(codes, spec).weights
    return float((outputs(network, spec, rebuilt, encoder.queries) - expected).square().mean())


@pytest.mark.parametrize(("name", "count"), [("digits_cnn", 24), ("resnet_small", 5)])
def test_rounding_as_it_goes_beats_rounding_afterwards(name: str, count: int) -> None:
    encoder, network, spec, values = made(name, count=count, ratio=1.0)
    weights = weights_of(values[-4:], spec)
    exact = encoder.encode(weights).codes
    known = encoder.encode(weights_of(values, spec)).codes
    errors, afterwards = [], []
    for bits in (3.0, 6.0):
        rounding = fit_rounding(known[:, 0], encoder.units(known), bits)
        codes = encoder.encode_rounded(weights, rounding).codes
        assert all(len(codes[:, 0, i].unique()) <= 2**b for i, b in enumerate(rounding.bits.tolist()))
        errors.append(output_error(encoder, network, values[-4:], codes))
        late = rounding.apply(exact[:, 0])[:, None]
        afterwards.append(output_error(encoder, network, values[-4:], late))
    assert errors[0] > errors[1]
    assert all(now < 0.5 * late for now, late in zip(errors, afterwards, strict=True))


def test_decoders_rebuild_the_networks_the_rounding_encoder_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, network, spec, values = made("digits_cnn", count=12, ratio=1.3)
    weights = weights_of(values, spec)
    known = encoder.encode(weights).codes
    rounding = fit_rounding(known[:, 0], encoder.units(known), 4.0)
    states = []
    set_code = Activation.set_code

    def spy(self: Activation, state: dict[str, torch.Tensor], *rest: object) -> None:
        set_code(self, state, *rest)  # type: ignore[arg-type]
        states.append(state)

    monkeypatch.setattr(Activation, "set_code", spy)
    codes = encoder.encode_rounded(weights, rounding).codes
    seen = torch.cat([states[-1][tensor.name].flatten(1) for tensor in spec.tensors], dim=1)
    assert not torch.allclose(codes, known, atol=1e-3)
    assert torch.allclose(encoder.decode(codes, spec).weights, seen, atol=1e-3)
    # One at a time, only weights of inputs that never vary may differ: the function is the same.
    alone = encoder.decode(codes[5:6], spec).weights
    expected = outputs(network, spec, seen[5:6], encoder.queries)
    assert torch.allclose(outputs(network, spec, alone, encoder.queries), expected, atol=1e-3)
    assert torch.equal(encoder.encode_rounded(weights, None).codes, known)


def test_embedding_ignores_the_order_of_neurons() -> None:
    encoder, _, spec, values = made("digits_cnn")
    moved = permute(values, sample(spec, len(values), torch.Generator().manual_seed(1)), spec)
    one, two = (encoder.encode(weights_of(v, spec)).embedding for v in (values, moved))
    assert (one - two).norm() < 0.02 * one.norm()
    assert (one - one.roll(1, 0)).norm() > 0.2 * one.norm()


def test_projection_passes_gradients_and_keeps_decoded_networks() -> None:
    encoder, _, spec, values = made("digits_cnn")
    decoded = encoder.reconstruct(weights_of(values, spec)).requires_grad_(True)
    projected = project(encoder, decoded, bases(encoder, decoded.detach()))
    assert torch.allclose(projected, decoded, atol=1e-3)
    projected.square().sum().backward()
    assert decoded.grad is not None
    assert decoded.grad.abs().sum() > 0


def test_saved_encoders_come_back_with_images_and_ranks(tmp_path: object) -> None:
    encoder, network, spec, values = made("digits_cnn")
    encoder.adapt(batch_of(values, spec))
    again = from_pretrained(save_pretrained(encoder, f"{tmp_path}/encoder"))
    assert isinstance(again, Activation)
    with pytest.raises(NoCode, match="no code is known"):
        again.encode(weights_of(values, spec))
    again.bind(network)
    weights = Weights(values, spec, torch.arange(len(values)))
    assert torch.equal(again.encode(weights).codes, encoder.encode(weights).codes)
    assert torch.equal(again.embed(Batch((weights,))), encoder.embed(Batch((weights,))))


def test_impossible_settings_are_named() -> None:
    encoder, network, spec, _ = made("digits_cnn")
    with pytest.raises(DataError, match="64 images, the pool has 10"):
        encoder.bind(network, torch.randn(10, 1, 8, 8))
    with pytest.raises(ConfigError, match="less than one per neuron"):
        Activation(ActivationConfig(ratio=100.0), spec)
    with pytest.raises(SpecError, match="traced layout"):
        Activation(ActivationConfig(), NetworkSpec(tensors=spec.tensors, groups=spec.groups))


def test_large_inputs_are_taken_a_few_networks_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, network, spec, values = made("digits_cnn", count=5)
    whole = encoder.reconstruct(weights_of(values, spec))
    assert encoder.chunk == 16
    monkeypatch.setattr("weightatlas.encoders.activation.UNFOLDED", 1)
    encoder.bind(network)
    torch.testing.assert_close(encoder.reconstruct(weights_of(values, spec)), whole, atol=1e-4, rtol=1e-3)
    assert encoder.chunk == 1


@pytest.mark.parametrize("name", ["activation", "activation_sparse"])
def test_layouts_without_a_layer_to_code_are_refused(name: str) -> None:
    spec = spec_of(nn.Sequential(nn.LayerNorm(4), nn.ReLU()), (4,))
    with pytest.raises(SpecError, match="this layout has none"):
        create_encoder(name, spec)
