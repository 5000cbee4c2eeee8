"""Zoos of sines: fitted once, grown without change, read like any zoo."""

from pathlib import Path

import numpy as np
import pytest
import torch

from weightatlas.errors import ZooError
from weightatlas.tasks.signals import SineConfig
from weightatlas.zoo.signals import SineRecipe, populate_sines
from weightatlas.zoo.zoo import Zoo


def recipe(**changes: object) -> SineRecipe:
    return SineRecipe(
        count=12, hidden=(8, 8), steps=40, lr=1e-2, shard=6, signals=SineConfig(points=16)
    ).replace(**changes)


def test_a_zoo_of_sines_reads_like_any_zoo(tmp_path: Path):
    zoo = populate_sines(recipe(), tmp_path / "zoo")
    assert len(zoo) == 12
    batch = zoo.batch(labels=("frequency", "train_loss"))
    assert float(batch.labels["frequency"].min()) >= 0.5
    assert sum(len(zoo.split(part)) for part in ("train", "val", "test")) == 12
    inputs = torch.linspace(-1, 1, 16)[:, None]
    outputs = zoo.population(engine="vmap").outputs_no_grad(batch.groups[0].values, inputs)
    frequency = batch.labels["frequency"].double()[:, None] * torch.pi
    wanted = torch.sin(frequency * inputs[:, 0])[..., None].float()
    errors = (outputs - wanted).square().mean((1, 2))
    np.testing.assert_allclose(errors.numpy(), zoo.column("train_loss"), rtol=1e-2, atol=1e-4)
    assert not zoo.verify().problems


def test_growing_changes_no_network(tmp_path: Path):
    before = populate_sines(recipe(), tmp_path / "zoo")
    old = dict(zip(before.column("network").tolist(), before.batch().groups[0].values, strict=True))
    grown = populate_sines(recipe(count=15), tmp_path / "zoo")
    assert len(grown) == 15
    new = dict(zip(grown.column("network").tolist(), grown.batch().groups[0].values, strict=True))
    assert all(torch.equal(new[name], value) for name, value in old.items())
    assert len(populate_sines(recipe(), tmp_path / "zoo")) == 12
    populate_sines(recipe(count=17), tmp_path / "zoo")
    assert len(Zoo.open(tmp_path / "zoo")) == 17


def test_another_recipe_is_refused(tmp_path: Path):
    populate_sines(recipe(count=6), tmp_path / "zoo")
    with pytest.raises(ZooError, match="steps differ"):
        populate_sines(recipe(count=6, steps=41), tmp_path / "zoo")
