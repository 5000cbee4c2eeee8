"""Recipes: counts, keys, random search, presets, refusals."""

from pathlib import Path

import pytest
import torch

from weightatlas.errors import ConfigError, FileError
from weightatlas.population.initialize import schemes
from weightatlas.tasks import create_task
from weightatlas.zoo.header import Shares
from weightatlas.zoo.lineage import split_of
from weightatlas.zoo.recipe import TIERS, Recipe, load_recipe, recipe_names

from .conftest import TINY, tiny

DRAWN = {"lr": {"low": 1e-4, "high": 1e-2, "log": True}, "init": ["normal", "uniform"]}


def keys(recipe: Recipe) -> list[int]:
    return [run.settings.key for run in recipe.runs(create_task("digits"))]


def test_keys_do_not_depend_on_the_grid() -> None:
    short, long = keys(tiny()), keys(tiny(grid={"lr": [1e-4, 1e-2, 1e-3], "activation": ["tanh", "relu"]}))
    assert len(set(short)) == len(short) == tiny().networks == 16
    assert set(short) < set(long)
    assert set(short) < set(keys(tiny(replicates=6)))
    assert not set(short) & set(keys(tiny(seed=1)))
    assert not set(short) & set(keys(tiny(epochs=5)))


def test_random_search_grows_at_its_end() -> None:
    few, many = tiny(grid=DRAWN, count=10, replicates=1), tiny(grid=DRAWN, count=30, replicates=1)
    assert keys(many)[:10] == keys(few)
    runs = many.runs(create_task("digits"))
    rates = torch.tensor([run.settings.lr for run in runs]).log10()
    assert -4 <= rates.min() < -3.5
    assert -2.5 < rates.max() <= -2
    assert {run.settings.init for run in runs} == {"normal", "uniform"}


def test_the_same_draw_twice_makes_two_networks() -> None:
    recipe = tiny(grid={"init": ["normal"]}, count=5, replicates=2)
    assert len(set(keys(recipe))) == recipe.networks == 10


def test_fixed_init_seeds() -> None:
    runs = tiny(grid={"init_seed": [1, 2]}, replicates=2).runs(create_task("digits"))
    assert [run.settings.init_seed for run in runs] == [1, 1, 2, 2]
    assert len({run.settings.key for run in runs}) == 4


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize("tier", TIERS)
def test_presets_load(name: str, tier: str) -> None:
    recipe = load_recipe(name, tier)
    assert set(recipe.grid.init) <= set(schemes.names())
    assert recipe.networks >= 10


def test_paper_grid() -> None:
    recipe = load_recipe("cnn3_cifar10", "paper")
    sizes = (len(recipe.grid.init), len(recipe.grid.lr), len(recipe.grid.weight_decay), recipe.replicates)
    assert sizes == (4, 5, 3, 20)
    assert recipe.networks == 1200
    assert recipe.kept == (20, 30, 40, 50)
    assert load_recipe("lenet5_cifar10").grid == recipe.grid


def test_quickstart_zoo_can_be_split() -> None:
    for tier in ("smoke", "laptop"):
        recipe = load_recipe("digits", tier)
        parts = split_of([str(key) for key in keys(recipe)], Shares())
        assert len(parts) == recipe.networks
    assert recipe.networks == 960


def test_split_shares() -> None:
    parts = split_of([str(i) for i in range(4000)], Shares(train=0.8, val=0.05, test=0.15))
    assert abs(parts.count("train") / 4000 - 0.8) < 0.03
    assert abs(parts.count("val") / 4000 - 0.05) < 0.02


def test_bad_recipes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        Recipe.build({**TINY, "epoch": 3})
    with pytest.raises(ConfigError, match=r"unknown key 'grid\.learning_rate'"):
        tiny(grid={"learning_rate": [1e-3]})
    with pytest.raises(ConfigError, match="checkpoints \\[9\\]"):
        tiny(checkpoints=[9])
    with pytest.raises(ConfigError, match="set count"):
        tiny(grid=DRAWN)
    with pytest.raises(ConfigError, match="add up to"):
        tiny(split={"train": 0.9})
    with pytest.raises(ConfigError, match="digits"):
        load_recipe("digit")
    with pytest.raises(ConfigError, match="no tier"):
        load_recipe("digits", "huge")
    with pytest.raises(FileError, match="no file"):
        load_recipe(tmp_path / "x.yaml")
    path = tmp_path / "r.yaml"
    path.write_text("name: a\ntask: digits\nnetwork: mlp\nepochs: 1\ngrid: {lr: [1e-3]}\n")
    assert load_recipe(path).grid.lr == (1e-3,)
