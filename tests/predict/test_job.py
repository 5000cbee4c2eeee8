"""Supervised trainings as tasks: they leave a predictor, and continue where they stopped."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import Park
from weightatlas.errors import DataError
from weightatlas.fit.config import FitConfig
from weightatlas.fit.job import sweep_jobs
from weightatlas.predict import PropertyPredictor
from weightatlas.predict.job import PropertyJob, is_supervised, plan_properties, run_property_job
from weightatlas.zoo import Zoo
from weightatlas.zoo.populate import populate
from weightatlas.zoo.recipe import Recipe

RECIPE = {
    "name": "supervised",
    "task": "digits",
    "task_options": {"train_size": 96},
    "network": "mlp",
    "network_options": {"hidden": [4]},
    "epochs": 1,
    "grid": {"lr": [1e-3, 1e-2]},
    "replicates": 24,
}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> PropertyJob:
    folder = tmp_path_factory.mktemp("job")
    populate(Recipe.build(RECIPE), folder / "zoo")
    small = {"width": 8, "layers": 1}
    place = ("deep_sets", small, FitConfig(steps=3, batch=8), folder / "zoo", folder / "run")
    return PropertyJob(*place, properties=("test_acc", "train_acc"))


def test_a_finished_run_is_a_predictor(job: PropertyJob) -> None:
    facts = run_property_job(job)
    assert facts["finished"]
    assert facts["steps"] == 3
    zoo = Zoo.open(job.zoo)
    predictor = PropertyPredictor.load(job.out)
    predicted = predictor.predict(zoo.split("test"))
    assert predicted.shape == (len(zoo.split("test")), 2)
    grades = predictor.grader(zoo, abstain=0.0).grade(zoo.split("test").batch(), level=0.5)
    assert torch.equal(grades.predicted[~grades.abstained], predicted[~grades.abstained])
    with pytest.raises(DataError, match="train and val networks"):
        predictor.grader(zoo.split("train"))


def test_an_interrupted_run_continues_and_is_no_predictor_before(job: PropertyJob, tmp_path: Path) -> None:
    stopped = replace(job, out=tmp_path / "run", training=job.training.replace(max_seconds=1e-6))
    assert not run_property_job(stopped)["finished"]
    assert not (stopped.out / "predictor.json").exists()
    assert run_property_job(replace(stopped, training=job.training))["finished"]
    zoo = Zoo.open(job.zoo)
    whole = replace(job, out=tmp_path / "whole")
    run_property_job(whole)
    first, second = (PropertyPredictor.load(out).predict(zoo) for out in (stopped.out, whole.out))
    assert torch.equal(first, second)


def test_a_plan_and_a_sweep_keep_the_properties(job: PropertyJob) -> None:
    assert plan_properties(job)["properties"] == "test_acc, train_acc"
    jobs = sweep_jobs(job, {"seed": [0, 1]})
    assert all(isinstance(one, PropertyJob) and one.properties == job.properties for one in jobs)


def test_only_encoders_without_decoder_need_properties() -> None:
    assert is_supervised("nfn_np")
    assert not is_supervised("pca")


def test_networks_of_several_layouts_are_learned_together(park: Park, tmp_path: Path) -> None:
    small = {"width": 8, "layers": 1}
    job = PropertyJob("deep_sets", small, FitConfig(steps=2, batch=8), park.zoo, tmp_path / "run")
    assert run_property_job(job)["finished"]
    test = Zoo.open(park.zoo).split("test")
    predicted = PropertyPredictor.load(job.out).predict(test)
    assert len(test.specs) > 1
    assert predicted.shape == (len(test), 1)
    assert bool(((predicted > 0) & (predicted < 1)).all())


def test_text_is_learned_as_a_class_and_rates_as_logarithms(job: PropertyJob, tmp_path: Path) -> None:
    own = replace(job, out=tmp_path / "run", properties=("lr", "optimizer", "test_acc"))
    assert plan_properties(own)["properties"] == "lr (log), optimizer (class), test_acc"
    assert run_property_job(own)["finished"]
    zoo = Zoo.open(job.zoo)
    predictor = PropertyPredictor.load(own.out)
    predicted = predictor.predict(zoo.split("test"))
    assert bool(((predicted[:, 0] > 1e-4) & (predicted[:, 0] < 1e-1)).all())
    assert predictor.scales_[1].answer(float(predicted[0, 1])) == zoo.column("optimizer")[0]
    assert plan_properties(replace(own, kinds={"lr": "real"}))["properties"].startswith("lr, ")
