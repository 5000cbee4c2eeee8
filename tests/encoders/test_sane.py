"""SANE: sizes, companions, windows, padding, and what it refuses."""

import pytest
import torch
from torch import nn

from tests.encoders import small
from tests.weights.plain_spec import plain_spec
from weightatlas.encoders.base import Autoencoder
from weightatlas.encoders.io import create_encoder
from weightatlas.encoders.sane import Sane, SaneConfig
from weightatlas.errors import ConfigError, SpecError
from weightatlas.networks.registry import create_network
from weightatlas.objectives.views import ViewConfig, make_views
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import Weights, batch_of, weights_of


def make(**settings: object) -> Autoencoder:
    sizes = {"dim": 16, "layers": 1, "heads": 2, "latent": 3}
    encoder = create_encoder("sane", small.spec(), **{**sizes, **settings})
    assert isinstance(encoder, Autoencoder)
    return encoder.eval()


def trained(**settings: object) -> Autoencoder:
    """An encoder whose transformers matter: no output projection is zero any more."""
    encoder = make(**settings)
    encoder.adapt(batch_of(small.values(20), small.spec()))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return encoder


@pytest.mark.parametrize(
    "settings", [{}, {"skip": "none"}, {"window": 4, "halo": 1}, {"mode": "dense", "token_width": 5}]
)
def test_codes_do_not_depend_on_companions(settings: dict):
    """The released code attended across the networks of a batch; a network's code is its own."""
    encoder = trained(**settings)
    values = small.values(6)
    others = torch.cat([values[:2], 9 * torch.randn(4, values.shape[1])])
    together = encoder.encode(weights_of(values, small.spec())).codes[:2]
    elsewhere = encoder.encode(weights_of(others, small.spec())).codes[:2]
    alone = encoder.encode(weights_of(values[:1], small.spec())).codes
    torch.testing.assert_close(together, elsewhere)
    torch.testing.assert_close(together[:1], alone)


def test_tokens_of_a_network_see_each_other():
    """The negative control of the test above: inside a network, attention does mix."""
    encoder = trained()
    values = small.values(2)
    changed = values.clone()
    changed[0, 0] += 1
    before, after = (encoder.encode(weights_of(v, small.spec())).codes for v in (values, changed))
    assert ((before - after)[0].abs().amax(1) > 1e-6).all()
    assert torch.equal(before[1], after[1])


def test_shapes_and_gradients():
    encoder = make()
    weights = weights_of(small.values(5), small.spec())
    encoded, decoded = encoder(weights)
    assert encoded.codes.shape == (5, *encoder.code_shape(small.spec())) == (5, 14, 3)
    assert encoded.embedding.shape == (5, 3)
    assert decoded.weights.shape == weights.values.shape
    make(skip="none")(weights)[1].weights.square().sum().backward()
    with pytest.raises(SpecError, match="Codes have shape"):
        encoder.decode(encoded.codes[:, 1:], small.spec())


def test_every_parameter_learns_after_one_step():
    """Silent transformers wake up: after one step of gradient descent every parameter gets a gradient."""
    encoder = make().train()
    batch = batch_of(small.values(20), small.spec())
    encoder.adapt(batch)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        rebuilt = encoder(batch.groups[0])[1].weights
        (rebuilt - batch.groups[0].values).square().mean().backward()
        optimizer.step()
    dead = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not dead


def test_windows_with_enough_halo_equal_the_whole():
    """A window that sees everything gives what a window-free encoder gives."""
    whole, cut = trained(skip="none"), trained(skip="none", window=5, halo=20)
    cut.load_state_dict(whole.state_dict())
    weights = weights_of(small.values(3), small.spec())
    torch.testing.assert_close(whole.reconstruct(weights), cut.reconstruct(weights))
    short = trained(skip="none", window=5, halo=0)
    short.load_state_dict(whole.state_dict())
    assert not torch.allclose(whole.reconstruct(weights), short.reconstruct(weights), atol=1e-4)


@pytest.mark.parametrize("skip", ["pca", "none"])
def test_a_training_window_equals_that_window_alone(skip: str):
    encoder = trained(skip=skip, window=4)
    weights = weights_of(small.values(3), small.spec())
    encoded, decoded = encoder(weights, whole=False, generator=torch.Generator().manual_seed(1))
    assert encoded.codes.shape == (3, 4, 3)
    covered = decoded.aux["covered"]
    assert 0 < covered.sum() < len(covered)
    # Windows of four tokens start at 0, 4, 8, ...; take a draw that starts at one of them.
    starts = [int(torch.randint(11, (), generator=torch.Generator().manual_seed(s))) for s in range(40)]
    seed = next(s for s, start in enumerate(starts) if start == 4)
    _, part = encoder(weights, whole=False, generator=torch.Generator().manual_seed(seed))
    full = encoder.reconstruct(weights)
    mask = part.aux["covered"]
    torch.testing.assert_close(part.weights[:, mask], full[:, mask])


def test_the_linear_path_does_not_mind_the_order_of_neurons():
    """PCA is per kind of token, so permuted networks have permuted codes and equal reconstructions."""
    encoder = create_encoder("pca", small.spec(), latent=6)
    assert isinstance(encoder, Autoencoder)
    weights = weights_of(small.values(30), small.spec())
    views = make_views(weights, ViewConfig(permute="all"), 1, torch.Generator().manual_seed(0))
    encoder.adapt(batch_of(weights.values, small.spec()))
    errors = [(encoder.reconstruct(w) - w.values)[:, :30].square().sum(1) for w in (weights, views.clean)]
    assert not torch.equal(weights.values, views.clean.values)
    torch.testing.assert_close(*errors)


def test_too_few_positions_are_refused():
    with pytest.raises(ConfigError, match="8 token positions, the networks need 14"):
        make(max_positions=(8, 3, 6))
    with pytest.raises(ConfigError, match="5 channel positions, the networks need 6"):
        make(max_positions=(14, 3, 5))
    assert make(max_positions=(50, 5, 10)).code_shape(small.spec()) == (14, 3)


def test_other_layouts_and_settings_are_refused():
    with pytest.raises(ConfigError, match="multiple of heads"):
        SaneConfig.build({"dim": 10, "heads": 4})
    with pytest.raises(SpecError, match="works on one layout"):
        create_encoder("sane")
    other = plain_spec(nn.Linear(4, 3))
    with pytest.raises(SpecError, match="was made for layout"):
        make().encode(weights_of(torch.zeros(1, other.params), other))


def parameters(preset_like: dict, spec) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in Sane(SaneConfig.build(preset_like), spec).parameters())


@pytest.mark.parametrize(
    ("settings", "millions"),
    [
        # ICLR-2025: about 13.0 M, of which 0.18 M are the published head that flattens the window.
        ({"dim": 256, "layers": 8, "heads": 8, "latent": 64, "max_positions": (500, 50, 100)}, 12.86),
        # SANE's CNN release: 202.5 M, of which 0.25 M are the head.
        (
            {
                "dim": 1024,
                "layers": 8,
                "heads": 8,
                "latent": 128,
                "window": 64,
                "max_positions": (100, 10, 40),
            },
            202.3,
        ),
    ],
)
def test_published_sizes(settings: dict, millions: float):
    spec = spec_of(create_network("cnn3"), (3, 32, 32))
    count = parameters({**settings, "token_width": 289, "skip": "none"}, spec)
    assert count / 1e6 == pytest.approx(millions, abs=0.04)


def test_the_paper_codes_cnn3_in_93_codes_of_64():
    spec = spec_of(create_network("cnn3"), (3, 32, 32))
    with torch.device("meta"):
        encoder = Sane(SaneConfig(dim=256, layers=8, heads=8, latent=64, token_width=289, skip="none"), spec)
    assert encoder.code_shape(spec) == (93, 64)
    assert spec.params / encoder.code_numbers(spec) == pytest.approx(1.82, abs=0.01)


def test_embeddings_come_in_the_callers_order():
    encoder = trained()
    values = small.values(7)
    rows = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    from weightatlas.weights.batch import Batch

    shuffled = Batch((Weights(values[rows], small.spec(), rows),))
    torch.testing.assert_close(
        encoder.embed(shuffled, chunk=3), encoder.embed(batch_of(values, small.spec()))
    )


def test_other_windows_share_parameters_and_leave_the_encoder_as_it_is():
    encoder = trained(window=8)
    weights = weights_of(small.values(3), small.spec())
    before = encoder.encode(weights).codes
    whole = encoder.windowed(encoder.plan.tokens)  # type: ignore[attr-defined]
    halo = encoder.windowed(4, 2)  # type: ignore[attr-defined]
    assert not torch.allclose(whole.encode(weights).codes, before)
    assert not torch.allclose(halo.encode(weights).codes, before)
    assert torch.equal(encoder.encode(weights).codes, before)
    assert torch.equal(encoder.windowed(8).encode(weights).codes, before)  # type: ignore[attr-defined]
    assert next(halo.parameters()) is next(encoder.parameters())
