"""Recipes: counts, keys, random search, presets, refusals."""

from pathlib import Path

import pytest
import torch

from weightatlas.errors import ConfigError, FileError
from weightatlas.population.initialize import schemes
from weightatlas.tasks import create_task
from weightatlas.zoo.header import Shares
from weightatlas.zoo.lineage import split_of
from weightatlas.zoo.populate import populate
from weightatlas.zoo.recipe import TIERS, Range, Recipe, load_recipe, recipe_names
from weightatlas.zoo.signals import SineRecipe

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


def test_a_recipe_says_its_differences_to_a_base(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(
        "network: mlp\nepochs: 5\ngrid: {lr: [1.0e-3], dropout: [0.1]}\ntask_options: {classes: 3}\n"
        "tiers: {smoke: {epochs: 2, task_options: {train_size: 50}}}\n"
    )
    path = tmp_path / "r.yaml"
    path.write_text("base: b\nname: r\ntask: digits\ngrid: {dropout: [0.2]}\n")
    recipe = load_recipe(path, "smoke")
    assert (recipe.network, recipe.epochs) == ("mlp", 2)
    assert (recipe.grid.lr, recipe.grid.dropout) == ((1e-3,), (0.2,))
    assert recipe.task_options == {"classes": 3, "train_size": 50}


PUBLISHED = [name for name in recipe_names() if name.startswith(("small_cnn", "cnn_2464"))]


@pytest.mark.parametrize("name", [*PUBLISHED, "digits_search"])
def test_published_searches_keep_their_ranges(name: str) -> None:
    assert len(PUBLISHED) == 12
    for tier in ("smoke", "laptop", "paper"):
        grid = load_recipe(name, tier).grid
        assert grid.lr == Range(low=5e-4, high=5e-2, log=True)
        assert grid.weight_decay == Range(low=1e-8, high=1e-2, log=True)
        assert grid.init_std == Range(low=1e-3, high=0.5, log=True)
        assert grid.dropout == Range(low=0, high=0.7)
        assert grid.train_fraction == (0.1, 0.25, 0.5, 1.0)
        assert set(grid.optimizer) == {"sgd", "adam", "rmsprop"}
        assert set(grid.activation) == {"relu", "tanh"}
        assert len(grid.init) == 5
    laptop, paper = load_recipe(name, "laptop"), load_recipe(name, "paper")
    assert laptop.networks >= 600
    assert laptop.epochs >= 12
    if name in PUBLISHED:
        assert (paper.epochs, paper.grid.batch_size) == (86, (512,))
        assert paper.networks == (30_000 if name.startswith("small") else 750)


def test_a_spread_belongs_to_the_schemes_that_use_it() -> None:
    task = create_task("digits")
    runs = load_recipe("digits_search", "smoke").runs(task)
    for run in runs:
        assert (run.hyper["init_std"] is not None) == (run.hyper["init"] in ("normal", "truncated_normal"))
        assert run.settings.init_std == run.hyper["init_std"]
    assert len({run.hyper["init_std"] for run in runs}) > 10
    assert "init_std" not in load_recipe("digits", "smoke").runs(task)[0].hyper


def test_variants_train_every_combination_and_grow_without_changing() -> None:
    two = ({"hidden": [4]}, {"hidden": [3, 3]})
    task = create_task("digits", train_size=96)
    runs = tiny(variants=two).runs(task)
    assert tiny(variants=two).networks == len(runs) == 2 * len(tiny().runs(task))
    assert {run.variant for run in runs} == {0, 1}
    assert [run.id for run in runs if run.variant == 0] == [
        run.id for run in tiny(variants=two[:1]).runs(task)
    ]
    plain = tiny().runs(task)
    assert {run.variant for run in plain} == {None}
    assert [run.id for run in plain] == [run.id for run in tiny(variants=({},)).runs(task)]


def test_a_random_search_takes_variants_in_turn() -> None:
    recipe = load_recipe("vit_digits", "laptop").replace(count=10)
    runs = recipe.runs(create_task("digits"))
    assert [run.variant for run in runs] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    assert len({run.id for run in runs}) == 10


def test_a_park_is_trained_architecture_by_architecture(tmp_path: Path) -> None:
    recipe = load_recipe("cnn_park_digits", "smoke")
    park = recipe.variants.replace(count=2, layers=(2,), channels=(4,))
    zoo = populate(
        recipe.replace(variants=park, task_options={"train_size": 64, "test_size": 64}), tmp_path / "z"
    )
    assert len(zoo) == 4
    assert len(zoo.specs) == 2
    assert sorted(zoo.column("variant")) == [0, 0, 1, 1]
    for spec in zoo.specs:
        assert zoo.weights(spec).values.shape[0] == 2
        zoo.population(spec)


def test_a_recipe_changes_the_tiers_of_its_base_value_by_value() -> None:
    for tier, count in (("smoke", 24), ("laptop", 640)):
        signs, base = load_recipe("small_cnn_signs_gray", tier), load_recipe("small_cnn_mnist", tier)
        assert (signs.count, signs.epochs, signs.kept) == (count, base.epochs, base.kept)
        assert signs.grid == base.grid
    assert load_recipe("small_cnn_signs_gray", "laptop").task_options["train_size"] is None


@pytest.mark.parametrize("name", recipe_names())
def test_laptop_tiers_fit_a_laptop(name: str) -> None:
    recipe = load_recipe(name, "laptop")
    assert recipe.networks <= 1000
    assert recipe.epochs <= 40


SEARCH = {  # Unterthiner et al. (2020), appendix A; also google-research/dnn_predict_accuracy
    "activation": ("relu", "tanh"),
    "init": ("glorot_normal", "kaiming_normal", "orthogonal", "normal", "truncated_normal"),
    "init_std": Range(low=1e-3, high=0.5, log=True),
    "optimizer": ("sgd", "adam", "rmsprop"),
    "lr": Range(low=5e-4, high=5e-2, log=True),
    "weight_decay": Range(low=1e-8, high=1e-2, log=True),
    "dropout": Range(low=0.0, high=0.7),
    "train_fraction": (0.1, 0.25, 0.5, 1.0),
}


@pytest.mark.parametrize(
    "name", ["small_cnn_mnist", "small_cnn_cifar10_gray", "cnn_2464_mnist", "cnn_2464_cifar10"]
)
@pytest.mark.parametrize("tier", ["laptop", "paper"])
def test_searches_keep_the_published_ranges(name: str, tier: str) -> None:
    recipe = load_recipe(name, tier)
    assert {field: getattr(recipe.grid, field) for field in SEARCH} == SEARCH
    if tier == "paper":
        assert (recipe.epochs, recipe.grid.batch_size) == (86, (512,))
        assert recipe.kept == (0, 1, 2, 3, 20, 40, 60, 80, 86)
        assert recipe.networks == (30_000 if name.startswith("small") else 750)
    else:
        assert recipe.networks >= 600
        assert recipe.epochs == 12
        assert recipe.task_options["train_size"] == 5000


def test_sine_networks_are_those_of_the_paper() -> None:
    recipe = SineRecipe(count=1)
    assert recipe.hidden == (32, 32)
    assert (recipe.signals.low, recipe.signals.high) == (0.5, 10.0)


@pytest.mark.parametrize("name", ["cnn3_signs", "cnn3_fashion_mnist"])
def test_cnn3_is_trained_alike_on_other_images(name: str) -> None:
    for tier in TIERS:
        own, base = load_recipe(name, tier), load_recipe("cnn3_cifar10", tier)
        assert (own.grid, own.networks, own.network) == (base.grid, base.networks, "cnn3")
    if name == "cnn3_signs":  # of which there are 1,337 and 400: fewer than the base asks for
        assert load_recipe(name, "smoke").task_options == {"classes": 10, "train_size": 320, "test_size": 400}
        for tier in ("laptop", "paper"):
            options = load_recipe(name, tier).task_options
            assert {options.get("train_size"), options.get("test_size")} == {None}
