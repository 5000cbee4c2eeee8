"""`bench netspace_cifar`: the table of `netspace_reconstruct` under its own name, for residual networks."""

import pytest

from tests.evaluate.protocols.netspace import smoke
from weightatlas.errors import DataError
from weightatlas.evaluate.protocols import netspace_reconstruct as one
from weightatlas.evaluate.protocols.netspace_cifar import netspace_cifar
from weightatlas.evaluate.protocols.registry import settings_of
from weightatlas.networks import create_network
from weightatlas.zoo.recipe import load_recipe


def test_rows_carry_the_name_of_the_bench(netspace_cache, tmp_path) -> None:
    changes = {"recipe": "netspace_digits", "preset": "netspace_small", "methods": ["netspace"], "held": 3}
    found = netspace_cifar("smoke", tmp_path / "r.json", (0,), netspace_cache, **changes)
    assert {r.bench for r in found} == {"netspace_cifar"}
    assert {"netspace", "mean network", "raw weights"} <= {r.method for r in found}
    gap = next(r for r in found if (r.method, r.metric) == ("netspace", "accuracy gap"))
    assert gap.n == 3


def test_parts_hold_as_many_networks_as_asked(netspace_cache) -> None:
    field = one.single(smoke("netspace_digits", netspace_cache), "batched", 5)
    assert [len(field.parts[part]) for part in ("train", "val", "test")] == [14, 5, 5]


def test_missing_images_are_named(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("WEIGHTATLAS_DATA", raising=False)
    with pytest.raises(DataError, match="WEIGHTATLAS_DATA is not set"):
        netspace_cifar("smoke", tmp_path / "r.json", (0,))


def test_the_laptop_zoo_has_half_width_networks_in_the_published_shares() -> None:
    recipe = load_recipe("netspace_cifar10", "laptop")
    settings = settings_of("netspace_cifar", "laptop", one.ReconstructConfig, {})
    assert recipe.networks == 48 == 32 + 2 * (settings.held or 0)
    half = create_network(recipe.network, **recipe.network_options)
    assert sum(p.numel() for p in half.parameters()) == 19_954


def test_the_paper_zoo_is_the_published_one() -> None:
    recipe = load_recipe("netspace_cifar10", "paper")
    assert recipe.networks == 132
    assert min(recipe.checkpoints) == 43
