"""Architectures: golden parameter counts, output shapes, refusals."""

import pytest
import torch
from torch import fx, nn

from weightatlas.errors import ConfigError
from weightatlas.networks import create_network, input_shape_of, networks
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.fold import fold_network

TINY = {"image_size": 64, "classes": 200}  # Tiny-ImageNet
GOLDEN = [
    ("cnn_small", {}, 2464),
    ("cnn_small", {"channels_in": 3}, 2864),
    ("cnn_unterthiner", {}, 4970),
    ("cnn3", {}, 10853),
    ("lenet5", {}, 62006),
    ("lenet_digits", {}, 5958),
    ("digits_cnn", {}, 2758),
    ("siren", {}, 1185),
    ("siren", {"coordinates": 1}, 1153),
    ("siren", {"coordinates": 3, "hidden": [64, 64]}, 3 * 64 + 64 + 64 * 64 + 64 + 65),
    ("siren", {"coordinates": 3, "hidden": [256, 256]}, 67073),
    ("lenet_like", {}, 62_006),
    ("lenet_like", TINY, 79_612),
    ("vanilla_cnn", {}, 68_818),
    ("vanilla_cnn", TINY, 112_856),
    ("resnet8", {}, 78_042),
    ("resnet8", TINY, 128_792),
    ("resnet32", {}, 466_906),
    ("resnet32", TINY, 517_656),
    ("resnet56", {}, 855_770),
    ("resnet56", TINY, 906_520),
    ("cnn_strided", {}, 3_818),
    ("cnn_small", {"widths": [6, 9, 6]}, 3 * 52 + 9 * 151 + 6 * 37 + 20 * 55 + 210),
    ("vit", {}, 12_274),
    ("vit", {"dim": 16, "depth": 6, "heads": 2}, 14_906),
    ("cnn_park", {"widths": [8, 4], "kernels": [3, 7], "residual": [-1, -1]}, 8 * 28 + 4 * 393 + 50),
    ("mlp", {"image_size": 4, "classes": 4, "hidden": [4]}, 16 * 4 + 4 + 4 * 4 + 4),
]

SIGNALS = {"siren"}  # their inputs are coordinates, their outputs no classes


@pytest.mark.parametrize(("name", "options", "count"), GOLDEN)
def test_parameter_counts(name: str, options: dict, count: int) -> None:
    assert sum(p.numel() for p in create_network(name, **options).parameters()) == count


@pytest.mark.parametrize("name", [name for name in networks.names() if name not in SIGNALS])
@pytest.mark.parametrize("options", [{}, {"activation": "gelu", "dropout": 0.2, "classes": 7}])
def test_every_network_runs_and_traces(name: str, options: dict) -> None:
    network = create_network(name, **options).eval()
    inputs = torch.randn(3, *input_shape_of(name, **options))
    outputs = network(inputs)
    assert outputs.shape == (3, options.get("classes", 10))
    assert torch.equal(fx.symbolic_trace(network)(inputs), outputs)


FOLDED = [
    ("resnet8", {}, 77_706),
    ("resnet8", TINY, 128_456),
    ("resnet32", {}, 465_674),
    ("resnet32", TINY, 516_424),
    ("resnet56", {}, 853_642),
    ("resnet56", TINY, 904_392),
    ("ladder", {"step": 0}, 1_250),
    ("ladder", {"step": 1}, 1_954),
    ("ladder", {"step": 2}, 5_530),
    ("ladder", {"step": 3}, 11_338),
]


@pytest.mark.parametrize(("name", "options", "count"), FOLDED)
def test_parameter_counts_with_batch_norm_folded(name: str, options: dict, count: int) -> None:
    """Every norm follows a convolution without bias: folding turns its four vectors into one bias."""
    network = create_network(name, **options)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    trained = sum(p.numel() for p in network.parameters())
    assert trained - sum(norm.num_features for norm in norms) == count


def test_a_folded_step_of_the_ladder_keeps_its_function() -> None:
    network = create_network("ladder", step=2).eval()
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        torch.nn.init.normal_(norm.running_mean)
    spec = spec_of(network, (1, 8, 8))
    simple = fold_network(network, spec)
    images = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(simple(images), network(images), rtol=1e-5, atol=1e-5)
    assert sum(p.numel() for p in simple.parameters()) == 5_530


def test_a_siren_is_what_the_paper_says() -> None:
    network = create_network("siren", omega=20.0)
    first, second, last = (network.get_submodule(name) for name in "024")
    x = torch.rand(5, *input_shape_of("siren"))
    expected = last(torch.sin(20 * second(torch.sin(20 * first(x)))))
    torch.testing.assert_close(network(x), expected)
    assert torch.equal(fx.symbolic_trace(network)(x), network(x))


def test_a_shifted_siren_adds_a_constant() -> None:
    plain, shifted = create_network("siren"), create_network("siren", shift=0.5)
    shifted.load_state_dict(plain.state_dict())
    x = torch.rand(5, 2)
    torch.testing.assert_close(shifted(x), plain(x) + 0.5)
    assert spec_of(shifted, (2,)).groups == (32, 32)


def test_creating_leaves_the_random_stream_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*_: object) -> None:
        raise AssertionError("the streams of GPUs were set")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", touched)
    before = torch.get_rng_state()
    first = create_network("mlp").state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(v, create_network("mlp").state_dict()[k]) for k, v in first.items())


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("cnn4", {}, "cnn3"),
        ("cnn3", {"activation": "rellu"}, "relu"),
        ("cnn3", {"image_size": 8}, "too small"),
        ("cnn3", {"dropout": 1.0}, "below 1"),
        ("cnn3", {"depth": 2}, "depth"),
        ("ladder", {"step": 4}, "steps 0 to 3"),
        ("resnet8", {"image_size": 16}, "too small"),
        ("siren", {"hidden": []}, "cannot be built"),
        ("siren", {"classes": 3}, "classes"),
        ("vit", {"heads": 5}, "not a multiple"),
        ("vit", {"image_size": 2}, "too small"),
        ("cnn_park", {"kernels": [3, 4, 3]}, "kernel 4 is not odd"),
        ("cnn_park", {"residual": [-1, 0, 0]}, "layer 1 cannot add"),
        ("cnn_park", {"widths": [4]}, "lengths"),
    ],
)
def test_bad_options_are_named(name: str, options: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        create_network(name, **options)
