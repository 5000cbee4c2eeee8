"""`bench netspace_table`: latent optimization under its own name, on every zoo it is told."""

import pytest

from weightatlas.errors import ConfigError, DataError
from weightatlas.evaluate.protocols.netspace_optimize import CODES, FREE, SUBSPACE
from weightatlas.evaluate.protocols.netspace_table import TableConfig, netspace_table
from weightatlas.evaluate.protocols.registry import settings_of
from weightatlas.zoo.recipe import load_recipe

DIGITS = {
    "recipes": ("netspace_digits",),
    "ladders": ("netspace_ladder",),
    "single": "netspace_reconstruct",
    "multiple": "netspace_ladder",
}


def test_rows_carry_the_names_of_bench_and_zoo(netspace_cache, tmp_path) -> None:
    found = netspace_table("smoke", tmp_path / "r.json", (0,), netspace_cache, **DIGITS)
    measured = [r for r in found if r.kind != "published"]
    assert {r.bench for r in found} == {"netspace_table"}
    assert {r.zoo for r in measured} == {"netspace_digits"}
    assert {CODES, FREE, SUBSPACE, f"{CODES}, four architectures"} <= {r.method for r in measured}
    assert len(found) - len(measured) == 10


def test_every_recipe_needs_a_ladder(tmp_path) -> None:
    with pytest.raises(ConfigError, match="2 recipes need as many ladders, not 1"):
        netspace_table("laptop", tmp_path / "r.json", (0,), ladders=("netspace_ladder",))


def test_missing_images_are_named(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("WEIGHTATLAS_DATA", raising=False)
    with pytest.raises(DataError, match="WEIGHTATLAS_DATA is not set"):
        netspace_table("smoke", tmp_path / "r.json", (0,))


@pytest.mark.parametrize("tier", ["laptop", "paper"])
def test_both_data_sets_are_there_and_zoos_of_one_share_their_images(tier) -> None:
    settings = settings_of("netspace_table", tier, TableConfig, {})
    pairs = [
        tuple(load_recipe(name, tier) for name in names)
        for names in zip(settings.recipes, settings.ladders, strict=True)
    ]
    assert [one.task for one, _ in pairs] == ["cifar10", "tinyimagenet20"]
    for one, several in pairs:
        assert (one.task, one.task_options) == (several.task, several.task_options)
