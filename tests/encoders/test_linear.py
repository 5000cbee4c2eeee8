"""PCA per kind of token: the best linear code, padding left alone."""

import pytest
import torch

from tests.encoders import small
from weightatlas.encoders.base import Autoencoder
from weightatlas.encoders.io import create_encoder
from weightatlas.encoders.linear import LinearPath, token_kinds
from weightatlas.errors import DataError
from weightatlas.weights.batch import Batch, batch_of
from weightatlas.weights.tokens import TokenConfig, layout


def pca(latent: int, values: torch.Tensor) -> Autoencoder:
    encoder = create_encoder("pca", small.spec(), latent=latent)
    assert isinstance(encoder, Autoencoder)
    encoder.adapt(batch_of(values, small.spec()))
    return encoder


def test_enough_numbers_rebuild_exactly():
    weights = batch_of(small.values(30), small.spec()).groups[0]
    torch.testing.assert_close(
        pca(7, weights.values).reconstruct(weights), weights.values, atol=1e-4, rtol=1e-4
    )


@torch.no_grad()
def test_more_numbers_rebuild_better():
    weights = batch_of(small.values(30), small.spec()).groups[0]
    errors = [float((pca(k, weights.values).reconstruct(weights) - weights.values).norm()) for k in (1, 2, 4)]
    assert errors[0] > errors[1] > errors[2] > 0


def test_it_equals_sklearn_on_one_kind():
    from sklearn.decomposition import PCA

    tokens = torch.randn(20, 3, 5) @ torch.randn(5, 5) + 2
    path = LinearPath(torch.zeros(3, dtype=torch.int64), 5, 2)
    path.fit(tokens)
    reference = PCA(2).fit(tokens.reshape(-1, 5).numpy())
    expected = reference.inverse_transform(reference.transform(tokens.reshape(-1, 5).numpy()))
    rebuilt = path.decode(path.encode(tokens)).detach()
    torch.testing.assert_close(rebuilt.reshape(-1, 5), torch.tensor(expected), atol=1e-4, rtol=1e-4)


def test_padding_costs_no_code_numbers():
    path = LinearPath(torch.zeros(1, dtype=torch.int64), 6, 5)
    tokens = torch.zeros(40, 1, 6)
    tokens[:, :, :2] = torch.randn(40, 1, 2)
    path.fit(tokens)
    assert (path.encode(tokens).abs().amax((0, 1)) > 0).tolist() == [True, True, False, False, False]


def test_pieces_of_one_row_are_kinds_of_their_own():
    """Width 4 cuts rows of 5, 7, 6 numbers in two: first and second pieces hold other inputs."""
    plan = layout(small.spec(), TokenConfig(width=4))
    kinds = token_kinds(plan)
    assert kinds.tolist() == [0, 1] * 6 + [2, 3] * 5 + [4, 5] * 3
    assert token_kinds(layout(small.spec())).tolist() == [0] * 6 + [1] * 5 + [2] * 3


def test_no_networks_is_an_error():
    with pytest.raises(DataError, match="no training networks"):
        create_encoder("pca", small.spec()).adapt(Batch(()))
