"""Drawn codes follow the density asked for; the published seed reuse exists and is visible."""

import pytest
import torch

from weightatlas.config import Config
from weightatlas.encoders.base import Autoencoder, Decoded, Encoded
from weightatlas.errors import ConfigError, DataError
from weightatlas.latent.sample import choose_anchors, generate, noise_around, sample
from weightatlas.latent.samplers import SampleConfig, samplers
from weightatlas.weights.batch import Weights
from weightatlas.weights.spec import NetworkSpec, Segment, TensorSpec


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def codes(anchors: int = 40) -> torch.Tensor:
    base = torch.randn(anchors, 6, generator=seeded(1)) @ torch.randn(6, 20, generator=seeded(2))
    return (base + 5).view(anchors, 4, 5)


QUICK = SampleConfig(steps=60)
BROAD = {"prior", "uniform", "gan", "flow", "neighborhood_isomap"}  # their means are not the anchors'


@pytest.mark.parametrize("method", [name for name in samplers.names() if name != "neighborhood_umap"])
def test_draws_are_shaped_seeded_and_near_the_anchors(method: str) -> None:
    first, second = (sample(codes(), 50, seeded(3), method, QUICK) for _ in range(2))
    assert first.shape == (50, 4, 5)
    assert torch.equal(first, second)
    assert not torch.equal(first, sample(codes(), 50, seeded(4), method, QUICK))
    assert (
        method in BROAD
        or (first.mean(0) - codes().mean(0)).abs().max() < 4 * codes().std(0).max() / 50**0.5 + 0.3
    )
    assert len(first.flatten(1).unique(dim=0)) == 50


def test_independent_dimensions_mix_anchors_and_joint_ones_do_not() -> None:
    tiny = SampleConfig(bandwidth=1e-6)
    flat = codes().flatten(1)

    def gap(method: str) -> float:
        drawn = sample(codes(), 200, seeded(), method, tiny).flatten(1)
        return float(torch.cdist(drawn, flat).min(1).values.median())

    for whole in ("kde_joint", "pca_kde_joint", "kde_legacy", "pca_kde_legacy"):
        assert gap(whole) < 1e-2
    for mixed in ("kde_dimension", "kde_token", "pca_kde"):
        assert gap(mixed) > 1


def test_tokens_are_drawn_whole() -> None:
    drawn = sample(codes(), 100, seeded(), "kde_token", SampleConfig(bandwidth=1e-6))
    for token in range(4):
        far = torch.cdist(drawn[:, token].double(), codes()[:, token].double())
        assert far.min(1).values.max() < 1e-3


def test_pca_components_are_drawn_independently_in_the_anchors_subspace() -> None:
    drawn = sample(codes(), 4000, seeded(), "pca_kde", SampleConfig(bandwidth=0.0))
    flat = codes().flatten(1)
    mean = flat.mean(0)
    _, _, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    inside = (drawn.flatten(1) - mean) @ directions[:6].T
    torch.testing.assert_close(inside @ directions[:6] + mean, drawn.flatten(1), atol=1e-3, rtol=1e-3)
    correlation = torch.corrcoef(inside.T)
    assert (correlation - torch.eye(6)).abs().max() < 0.08
    torch.testing.assert_close(inside.std(0), ((flat - mean) @ directions[:6].T).std(0), rtol=0.1, atol=0.1)


def test_legacy_shifts_all_dimensions_alike() -> None:
    drawn = sample(codes(), 100, seeded(), "kde_legacy", SampleConfig(bandwidth=0.01)).flatten(1)
    anchor = torch.cdist(drawn, codes().flatten(1)).argmin(1)
    shift = drawn - codes().flatten(1)[anchor]
    assert shift.std(1).max() < 1e-5
    assert shift[:, 0].std() == pytest.approx(0.01, rel=0.3)


def test_a_bandwidth_that_is_not_set_is_the_published_one_of_the_method() -> None:
    for method, width in (("kde_joint", 0.2), ("pca_kde", 0.2), ("kde_legacy", 0.002)):
        given = sample(codes(), 9, seeded(), method, SampleConfig(bandwidth=width))
        assert torch.equal(sample(codes(), 9, seeded(), method), given), method
    legacy = sample(codes(), 200, seeded(), "pca_kde_legacy").flatten(1)
    far = torch.cdist(legacy.double(), codes().flatten(1).double()).min(1).values
    # One shift of 0.002 in each of 32 components, and rounding.
    assert far.max() < 0.002 * 4 * 32**0.5 + 1e-4
    assert far.median() > 1e-3


def test_the_spread_of_the_prior_can_be_set() -> None:
    wide = sample(codes(), 500, seeded(), "prior", SampleConfig(sigma=10.0))
    assert float(wide.std()) == pytest.approx(10.0, rel=0.05)
    own = sample(codes(), 500, seeded(), "prior")
    assert float(own.std()) == pytest.approx(float(codes().square().mean().sqrt()), rel=0.05)


def test_bandwidth_widens_the_density() -> None:
    narrow, wide = (sample(codes(), 500, seeded(), "pca_kde", SampleConfig(bandwidth=h)) for h in (0.0, 1.0))
    assert float(wide.var(0).sum()) == pytest.approx(2 * float(narrow.var(0).sum()), rel=0.15)


def test_neighborhood_stays_between_two_anchors() -> None:
    drawn = sample(codes(), 60, seeded(), "neighborhood").flatten(1)
    flat = codes().flatten(1)
    near = torch.cdist(drawn, flat).topk(2, largest=False).values
    assert near.sum(1).max() < 3 * torch.cdist(flat, flat).topk(4, largest=False).values[:, 3].max()
    assert near[:, 0].median() > 1e-3


def test_anchors_are_the_best_and_never_nan() -> None:
    scores = torch.tensor([0.1, float("nan"), 0.9, 0.5, 0.7])
    assert choose_anchors(scores, 0.4).tolist() == [2, 4]
    assert choose_anchors(scores, 1.0).tolist() == [2, 4, 3, 0]
    assert choose_anchors(scores, 1.0, least=0.6).tolist() == [2, 4]
    with pytest.raises(DataError, match=r"none of 5 networks reaches 0\.95"):
        choose_anchors(scores, 1.0, least=0.95)
    with pytest.raises(DataError, match="none of 0 networks"):
        choose_anchors(torch.zeros(0))
    with pytest.raises(ConfigError, match="not at 30"):
        choose_anchors(scores, 30.0)


def test_too_few_anchors_are_named() -> None:
    with pytest.raises(DataError, match="no anchors"):
        sample(codes()[:0], 3, seeded())
    with pytest.raises(DataError, match="at least 2 anchors"):
        sample(codes()[:1], 3, seeded())
    with pytest.raises(DataError, match="NaN"):
        sample(codes() * torch.nan, 3, seeded())
    assert sample(codes()[:2], 3, seeded()).shape == (3, 4, 5)


def spec_of(*sizes: int) -> NetworkSpec:
    tensors = (
        TensorSpec(
            name=f"t{i}", shape=(n,), role="weight", axes=((Segment(members=n),),), layer=i, trainable=i < 2
        )
        for i, n in enumerate(sizes)
    )
    return NetworkSpec(tensors=tuple(tensors))


def test_noise_is_in_units_of_each_tensor_and_spares_buffers() -> None:
    spec = spec_of(2000, 2000, 5)
    values = torch.cat([torch.randn(1, 2000), 10 * torch.randn(1, 2000), torch.randn(1, 5)], 1)
    moved = noise_around(values, 8, seeded(), spec, sigma=0.1) - values
    assert moved[:, :2000].std() == pytest.approx(0.1, rel=0.1)
    assert moved[:, 2000:4000].std() == pytest.approx(1.0, rel=0.1)
    assert moved[:, 4000:].abs().max() == 0
    with pytest.raises(DataError, match="no anchors"):
        noise_around(values[:0], 1, seeded(), spec)


class Halver(Autoencoder):
    """Codes are weights halved."""

    Settings, accepts, name = Config, "any", "halver"

    def encode(self, weights: Weights) -> Encoded:
        values = weights.values[:, None] / 2
        return Encoded(values, torch.ones(len(values), 1, dtype=torch.bool), values[:, 0])

    def code_shape(self, spec: NetworkSpec) -> tuple[int, int]:
        return 1, spec.params

    def decode(self, codes: torch.Tensor, spec: NetworkSpec) -> Decoded:
        return Decoded(2 * codes[:, 0])


def test_generate_decodes_what_sample_draws() -> None:
    spec, anchors = spec_of(3, 3), torch.randn(9, 1, 6)
    made = generate(Halver(Config()), anchors, spec, 5, seeded(), "kde_joint", chunk=2)
    torch.testing.assert_close(made, 2 * sample(anchors, 5, seeded(), "kde_joint")[:, 0])
