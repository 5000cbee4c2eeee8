"""Paths start and end where they should; aligned lines know the order of neurons."""

import pytest
import torch

from tests.evaluate.small import SPEC, networks, permuted
from tests.latent.test_sample import Halver
from weightatlas.config import Config
from weightatlas.errors import DataError
from weightatlas.latent.interpolate import between_codes, between_weights, line, slerp
from weightatlas.weights.batch import weights_of

POSITIONS = torch.linspace(0, 1, 5)


@pytest.mark.parametrize("path", [line, slerp])
def test_ends(path: object) -> None:
    start, end = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    points = path(start, end, POSITIONS)  # type: ignore[operator]
    assert points.shape == (3, 5, 4, 5)
    torch.testing.assert_close(points[:, 0], start)
    torch.testing.assert_close(points[:, -1], end)


def test_slerp_turns_evenly_and_keeps_length() -> None:
    points = slerp(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]]), POSITIONS)[0]
    angles = torch.atan2(points[:, 1], points[:, 0])
    torch.testing.assert_close(angles, POSITIONS * torch.pi / 2)
    torch.testing.assert_close(points.norm(dim=1), torch.full((5,), 2.0))
    assert line(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]]), POSITIONS)[0, 2].norm() < 1.5


def test_slerp_of_parallel_vectors_is_the_line() -> None:
    start = torch.randn(2, 6)
    start[1] = 0
    torch.testing.assert_close(slerp(start, 3 * start, POSITIONS), line(start, 3 * start, POSITIONS))


def test_the_aligned_line_between_permuted_copies_stays_put() -> None:
    start = networks(3)
    end = permuted(start, torch.tensor([4, 2, 0, 5, 1, 3]))
    still = between_weights(start, end, POSITIONS, SPEC)
    torch.testing.assert_close(still, start[:, None].expand(-1, 5, -1))
    raw = between_weights(start, end, POSITIONS)
    assert (raw[:, 2] - start).norm(dim=1).min() > 0.5


@pytest.mark.parametrize("path", ["line", "slerp"])
def test_paths_through_codes(path: str) -> None:
    start, end = weights_of(networks(3), SPEC), weights_of(networks(3, seed=1), SPEC)
    points = between_codes(Halver(Config()), start, end, POSITIONS, path)
    assert points.shape == (3, 5, 51)
    torch.testing.assert_close(points[:, 0], start.values)
    torch.testing.assert_close(points[:, -1], end.values)


def test_unpaired_sets_are_named() -> None:
    with pytest.raises(DataError, match="pairs of networks"):
        between_weights(networks(3), networks(2), POSITIONS)
