"""What every registered encoder promises, tested by being registered."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.encoders import small
from tests.encoders.test_io import SIZES
from weightatlas.encoders.base import Autoencoder, Encoder, encoders
from weightatlas.encoders.heads import HeadConfig
from weightatlas.encoders.implicit import Implicit
from weightatlas.encoders.io import create_encoder, from_pretrained, save_pretrained
from weightatlas.encoders.prep_autoencoder import PrepAutoencoder
from weightatlas.errors import WeightAtlasError
from weightatlas.fit import FitConfig
from weightatlas.predict.finetune import Finetuning, finetune
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import Batch, batch_of, weights_of
from weightatlas.weights.spec import NetworkSpec

NAMES = encoders.names()


def near(name: str) -> dict[str, float]:
    """How close equal embeddings must be. SNE's are amplified: they differ by 2 % of their size before."""
    return {"rtol": 1e-3, "atol": 1e-3} if name == "sne" else {"rtol": 1e-4, "atol": 1e-5}


def other_spec() -> NetworkSpec:
    return spec_of(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), (4,))


def made(name: str) -> Encoder:
    encoder = create_encoder(name, small.spec(), seed=4, **SIZES.get(name, {}))
    encoder.bind(small.network(), small.queries())
    return encoder


def adapted(name: str) -> Encoder:
    encoder = made(name)
    encoder.adapt(batch_of(small.values(12), small.spec()))
    return encoder.eval()


@pytest.mark.parametrize("name", NAMES)
def test_it_is_described(name: str):
    factory = encoders.get(name)
    assert isinstance(factory, type)
    assert factory.name == name
    assert factory.accepts in ("one", "family", "any")
    assert factory.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_embeddings_are_finite_vectors_in_the_callers_order(name: str):
    encoder = adapted(name)
    values = small.values(6, seed=2)
    embedded = encoder.embed(batch_of(values, small.spec()))
    assert embedded.shape[0] == 6
    assert embedded.dtype == torch.float32
    assert bool(torch.isfinite(embedded).all())
    turned = encoder.embed(batch_of(values.flip(0), small.spec()))
    torch.testing.assert_close(turned.flip(0), embedded, **near(name))
    parts = encoder.embed(batch_of(values, small.spec()), chunk=2)
    torch.testing.assert_close(parts, embedded, **near(name))


@pytest.mark.parametrize("name", NAMES)
def test_embeddings_do_not_depend_on_companions_also_before_training(name: str):
    """An encoder that was just made is in training mode, in which norms see the batch and dropout draws."""
    encoder = made(name)
    encoder.adapt(batch_of(small.values(12), small.spec()))
    state = {key: value.clone() for key, value in encoder.state_dict().items()}
    values = small.values(6, seed=2)
    whole = encoder.embed(batch_of(values, small.spec()))
    torch.testing.assert_close(encoder.embed(batch_of(values[:2], small.spec())), whole[:2], **near(name))
    assert encoder.training
    assert all(torch.equal(state[key], value) for key, value in encoder.state_dict().items())


@pytest.mark.parametrize("name", ["mlp", "deep_sets"])
def test_networks_are_embedded_where_the_encoder_is(name: str):
    """Training leaves an encoder on its device, and zoos hand out networks on the CPU."""
    embedded = adapted(name).to("meta").embed(batch_of(small.values(6), small.spec()), chunk=4)
    assert embedded.device.type == "meta"
    assert embedded.shape[0] == 6


@pytest.mark.parametrize("name", NAMES)
def test_encoding_is_deterministic_and_masks_fit_codes(name: str):
    encoder, weights = adapted(name), weights_of(small.values(5, seed=2), small.spec())
    with torch.no_grad():
        first, second = encoder.encode(weights), encoder.encode(weights)
    assert torch.equal(first.embedding, second.embedding)
    assert first.mask.shape == first.codes.shape[:2]
    if isinstance(encoder, Autoencoder):
        assert tuple(first.codes.shape[1:]) == tuple(encoder.code_shape(small.spec()))


DECODERS = [
    name
    for name in NAMES
    if issubclass(encoders.get(name), Autoencoder)  # type: ignore[arg-type]
    and not issubclass(encoders.get(name), PrepAutoencoder)  # type: ignore[arg-type]  (refuse batch norms)
    and encoders.get(name).decodes_weights  # type: ignore[attr-defined]
]


@pytest.mark.parametrize("name", DECODERS)
def test_decoded_variances_are_positive(name: str):
    """Wherever a code lies: a negative variance would make every output NaN."""
    network = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    spec = spec_of(network, (4,))
    encoder = create_encoder(name, spec, **SIZES.get(name, {}))
    encoder.bind(network, small.queries())
    values = torch.randn(12, spec.params, generator=torch.Generator().manual_seed(0))
    variances = next(place for key, place in spec.slices.items() if key.endswith("running_var"))
    values[:, variances] = values[:, variances].abs() + 0.1
    encoder.adapt(batch_of(values, spec))
    assert isinstance(encoder, Autoencoder)
    codes = 5 * torch.randn(16, *encoder.code_shape(spec), generator=torch.Generator().manual_seed(1))
    decoded = encoder.decode(codes, spec).weights
    assert bool((decoded[:, variances] > 0).all())
    assert bool((decoded[:, : variances.start] < 0).any())


@pytest.mark.parametrize("name", NAMES)
def test_it_says_whether_there_is_anything_to_train(name: str):
    encoder = made(name)
    assert encoder.closed_form == (not any(parameter.requires_grad for parameter in encoder.parameters()))


@pytest.mark.parametrize("name", NAMES)
def test_sizes_below_what_can_be_are_refused_by_name(name: str):
    fields = encoders.get(name).Settings.model_fields  # type: ignore[attr-defined]
    numbers = (int, float, int | None, float | None)
    sizes = [key for key, field in fields.items() if field.annotation in numbers]
    for key in sizes:
        with pytest.raises(WeightAtlasError):
            create_encoder(name, small.spec(), **{**SIZES.get(name, {}), key: -1})


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_trained_parameter(name: str):
    encoder = made(name)
    encoder.adapt(batch_of(small.values(12), small.spec()))
    encoder.train()
    if not any(p.requires_grad for p in encoder.parameters()):
        return
    for _ in range(2):  # Parts that start at zero let gradients through only after one step.
        encoder.zero_grad()
        encoded = encoder.encode(weights_of(small.values(8), small.spec()))
        loss = (encoded.embedding - 1).square().sum()
        if isinstance(encoder, Implicit):
            loss = loss + encoder.outputs(encoded.codes, small.spec(), small.queries()).square().sum()
        elif isinstance(encoder, Autoencoder):
            loss = loss + (encoder.decode(encoded.codes, small.spec()).weights - 1).square().sum()
        loss.backward()
        with torch.no_grad():
            for parameter in encoder.parameters():
                if parameter.grad is not None:
                    parameter -= 1e-2 * parameter.grad.sign()
    idle = [n for n, p in encoder.named_parameters() if p.requires_grad and not _moved(p)]
    assert not idle


def _moved(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool((parameter.grad != 0).any())


@pytest.mark.parametrize("name", NAMES)
def test_reload_gives_the_same_bits(name: str, tmp_path: Path):
    encoder = adapted(name)
    again = from_pretrained(save_pretrained(encoder, tmp_path))
    again.bind(small.network())
    batch = batch_of(small.values(3, seed=2), small.spec())
    assert torch.equal(again.embed(batch), encoder.embed(batch))


@pytest.mark.parametrize("name", NAMES)
def test_other_layouts_are_encoded_or_refused_by_name(name: str):
    encoder, spec = adapted(name), other_spec()
    others = batch_of(torch.randn(3, spec.params), spec)
    if encoder.accepts == "one":
        with pytest.raises(WeightAtlasError, match=f"{name}|layout"):
            encoder.embed(others)
        return
    if encoder.accepts == "any":
        both = Batch((weights_of(small.values(2), small.spec()), _after(others, 2)))
        alone = encoder.embed(others)
        torch.testing.assert_close(encoder.embed(both)[2:], alone, **near(name))


def _after(batch: Batch, start: int):
    from weightatlas.weights.batch import Weights

    group = batch.groups[0]
    return Weights(group.values, group.spec, group.rows + start)


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_on_a_property(name: str):
    """Through the one training loop, with the head and the state that the estimator uses."""
    encoder = made(name)
    if not any(p.requires_grad for p in encoder.parameters()):
        return
    values = small.values(16)
    batch = batch_of(values, small.spec(), size=values.square().mean(1))
    settings = Finetuning(head=HeadConfig(), fit=FitConfig(passes=1, batch=8, device="cpu"))
    found = finetune(encoder, batch, ["size"], settings)
    assert bool(torch.isfinite(found.predict(batch)).all())
