"""Zoos of shapes and images: one population, read like any zoo, split by signal."""

from pathlib import Path

import numpy as np
import pytest
import torch

from weightatlas.errors import ConfigError, DataError, ZooError
from weightatlas.tasks.fields import PointConfig
from weightatlas.zoo.fields import (
    FieldRecipe,
    field_recipe,
    field_recipes,
    populate_fields,
    signals_of,
)


def recipe(**changes: object) -> FieldRecipe:
    few = FieldRecipe(
        name="few",
        source="primitives",
        count=24,
        hidden=(8, 8),
        steps=20,
        start_steps=20,
        batch=64,
        lr=5e-3,
        pool=512,
        points=PointConfig(count=64),
        shard=10,
    )
    return few.replace(**changes)


def test_networks_learn_their_shapes(tmp_path: Path):
    zoo = populate_fields(recipe(hidden=(16, 16), steps=80, focus=None, shard=24), tmp_path / "zoo")
    assert len(zoo) == 24
    assert not zoo.verify().problems
    signals = signals_of(recipe()).take(zoo.column("signal"))
    assert np.array_equal(zoo.column("label"), signals.labels)
    points = signals.points(torch.arange(24), PointConfig(count=200))
    wanted = signals.measure(points)
    values = zoo.batch().groups[0].values
    found = zoo.population(engine="vmap").outputs_no_grad(values, points, shared=False)[..., 0]
    own = (found - wanted).square().mean(1)
    others = (found - wanted.roll(1, 0)).square().mean(1)
    assert float(own.mean()) < 0.5 * float(wanted.var(1).mean())
    assert float((own < others).float().mean()) > 0.8


def test_starts_are_shared_or_not(tmp_path: Path):
    spread = {}
    for start in ("mean", "shared", "independent"):
        zoo = populate_fields(recipe(start=start, steps=1, lr=1e-6, count=12), tmp_path / start)
        values = zoo.batch().groups[0].values
        spread[start] = float((values - values[:1]).abs().max())
    assert spread["mean"] < 1e-4
    assert spread["shared"] < 1e-4
    assert spread["independent"] > 0.1


def test_an_interrupted_fit_goes_on_and_another_recipe_is_refused(tmp_path: Path):
    whole = populate_fields(recipe(), tmp_path / "whole")
    part = populate_fields(recipe(), tmp_path / "part")
    for name in ("safetensors", "parquet"):
        sorted((tmp_path / "part" / "weights").glob(f"*.{name}"))[0].unlink()
    (tmp_path / "part" / "networks.parquet").unlink()
    again = populate_fields(recipe(), tmp_path / "part")
    values = [zoo.batch().groups[0].values[np.argsort(zoo.column("id"))] for zoo in (whole, again)]
    assert torch.equal(*values)
    assert len(part) == 24
    with pytest.raises(ZooError, match="steps differ"):
        populate_fields(recipe(steps=21), tmp_path / "whole")


def test_images_are_fields_too(tmp_path: Path):
    small = recipe(source="digits", focus=None, count=12, steps=40)
    zoo = populate_fields(small, tmp_path / "zoo")
    signals = signals_of(small).take(zoo.column("signal"))
    places = signals.points(torch.arange(12), PointConfig())
    wanted = signals.measure(places)
    values = zoo.batch().groups[0].values
    found = zoo.population(engine="vmap").outputs_no_grad(values, places[0])[..., 0]
    assert float((found - wanted).square().mean()) < 0.7 * float(wanted.var())


def test_recipes_of_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in field_recipes():
        for tier in ("smoke", "laptop", "paper"):
            assert field_recipe(name, tier).name == name
    assert field_recipe("chairs", "paper").hidden == (256, 256)
    with pytest.raises(ConfigError, match="no recipe of fields called 'stools'"):
        field_recipe("stools")
    with pytest.raises(ConfigError, match="no tier 'huge'"):
        field_recipe("chairs", "huge")
    monkeypatch.delenv("WEIGHTATLAS_DATA", raising=False)
    with pytest.raises(DataError, match="WEIGHTATLAS_DATA"):
        populate_fields(field_recipe("chairs", "smoke"), tmp_path / "zoo")
