"""Zoos of the benches across zoos: every tier's networks fit their images, before anything is trained."""

from pathlib import Path

import pytest
import torch

from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.cross import CrossConfig
from weightatlas.evaluate.protocols.cross_zoos import Crossing, ZoosConfig, recipe_of
from weightatlas.evaluate.protocols.registry import check_settings, settings_of
from weightatlas.networks import create_network

BENCHES = ("cross_dataset", "cross_architecture", "embedding_map")
SIDES = {"mnist": 28, "fashion_mnist": 28, "emnist_letters": 28, "cifar10": 32, "gtsrb": 32, "digits": 8}
PARAMS = {"small_cnn": 4970, "cnn_2464": 2464}


def settings(bench: str, tier: str) -> CrossConfig:
    from weightatlas.evaluate.protocols.registry import cards

    kind: type[CrossConfig] = cards[bench].settings  # type: ignore[assignment]
    return settings_of(bench, tier, kind, {})


@pytest.mark.parametrize("tier", ["smoke", "laptop", "paper"])
@pytest.mark.parametrize("bench", BENCHES)
def test_networks_of_every_tier_fit_the_images_of_their_task(bench: str, tier: str) -> None:
    chosen = settings(bench, tier)
    for place in chosen.places():
        recipe = recipe_of(chosen, place, tier)
        options = recipe.task_options
        side = options.get("image_size") or SIDES[recipe.task]
        for own in recipe.architectures:
            module = create_network(recipe.network, image_size=side, **recipe.network_options, **own)
            channels = 3 if recipe.task in ("cifar10", "gtsrb") and not options.get("grayscale") else 1
            assert channels == 1
            images = torch.zeros(1, channels, side, side)
            assert module(images).shape == (1, 10)
            if tier == "paper":
                assert sum(p.numel() for p in module.parameters()) == PARAMS[place[0]]


def test_published_sizes_need_one_word_on_two_cores() -> None:
    changes = {"networks": "small_cnn", "data": ("mnist", "signs_gray"), "count": 40}
    check_settings("cross_dataset", "laptop", changes)
    chosen = settings_of("cross_dataset", "laptop", CrossConfig, {**changes, "networks": ("small_cnn",)})
    recipe = recipe_of(chosen, ("small_cnn", "signs_gray"), "laptop")
    assert (recipe.network, recipe.count, recipe.epochs) == ("cnn_unterthiner", 40, 12)
    assert chosen.label == "small_cnn-40"
    assert settings("cross_dataset", "laptop").label == "search_8x8"


def test_settings_that_cannot_work_are_refused_before_anything_is_trained() -> None:
    with pytest.raises(ConfigError, match=r"'lenet5' do not fit the 8x8 images of 'mnist'.*too small"):
        check_settings("cross_architecture", "laptop", {"networks": ("digits_cnn", "lenet5")})
    with pytest.raises(ConfigError, match="no network"):
        check_settings("cross_dataset", "laptop", {"networks": "digit_cnn"})
    with pytest.raises(ConfigError, match="no data set 'svhn'"):
        check_settings("cross_dataset", "paper", {"data": "svhn"})
    with pytest.raises(ConfigError, match="no recipe for networks 'small_cnn' on 'digits'"):
        check_settings("cross_dataset", "smoke", {"networks": "small_cnn"})


TINY = """
name: tiny
task: digits
task_options: {train_size: 60, test_size: 60}
network: mlp
network_options: {hidden: [4]}
epochs: 2
checkpoints: [1, 2]
grid: {lr: {low: 1.0e-3, high: 1.0e-2, log: true}}
count: 20
tiers: {smoke: {}}
"""


def test_a_whole_recipe_is_populated_under_its_own_name_and_last_checkpoints_count(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    chosen = ZoosConfig(
        zoos={"dense": {"digits": str(path)}}, tasks={"digits": {"task": "digits"}}, networks=("dense",)
    )
    found = Crossing(chosen, "smoke", tmp_path).zoo(("dense", "digits"))
    assert (tmp_path / "zoos" / "tiny-smoke").is_dir()
    assert len(found) == 20
    assert set(found.column("step").tolist()) == {2}
