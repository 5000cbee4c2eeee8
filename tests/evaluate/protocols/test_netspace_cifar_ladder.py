"""`bench netspace_cifar_ladder`: the table of `netspace_ladder`; published networks at paper tier."""

import pytest

from weightatlas.errors import DataError
from weightatlas.evaluate.protocols.netspace_cifar_ladder import netspace_cifar_ladder
from weightatlas.evaluate.protocols.netspace_ladder import ALL, LadderConfig
from weightatlas.evaluate.protocols.registry import settings_of
from weightatlas.fit.presets import preset
from weightatlas.networks import create_network
from weightatlas.zoo.recipe import load_recipe


def test_rows_carry_the_name_of_the_bench(netspace_cache, tmp_path) -> None:
    own = settings_of("netspace_ladder", "smoke", LadderConfig, {})
    names = ("recipe", "preset", "further", "teacher", "counts", "unseen", "engine")
    changes = {name: own.model_dump()[name] for name in names}
    found = netspace_cifar_ladder("smoke", tmp_path / "r.json", (0,), netspace_cache, **changes)
    assert {r.bench for r in found} == {"netspace_cifar_ladder"}
    assert {ALL, "best training network"} == {r.method for r in found}


def test_missing_images_are_named(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("WEIGHTATLAS_DATA", raising=False)
    with pytest.raises(DataError, match="WEIGHTATLAS_DATA is not set"):
        netspace_cifar_ladder("smoke", tmp_path / "r.json", (0,))


@pytest.mark.parametrize("tier", ["smoke", "laptop", "paper"])
def test_architectures_grow_and_the_largest_fits_the_prep(tier) -> None:
    settings = settings_of("netspace_cifar_ladder", tier, LadderConfig, {})
    recipe = load_recipe(settings.recipe, tier)
    every = [(recipe.network, recipe.network_options), *((r.name, r.options) for r in settings.further)]
    counts = [sum(p.numel() for p in create_network(n, **options).parameters()) for n, options in every]
    assert counts == sorted(counts)
    if tier == "paper":
        assert counts == [62_006, 68_818, 78_042, 466_906]
        sizes = preset(settings.preset).settings
        assert sizes["height"] * sizes["width"] > counts[-1]
        assert settings.counts == (60, 50, 60, 100)
    assert recipe.networks >= max(settings.counts) + 4
    assert settings.count == len(settings.counts) == len(settings.unseen)
