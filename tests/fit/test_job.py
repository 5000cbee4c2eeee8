"""Sweeps: every combination once, in folders of their own, the same wherever they run."""

from pathlib import Path

import pytest
import torch

from tests.conftest import Park
from tests.elsewhere import Elsewhere
from weightatlas.encoders.io import from_pretrained
from weightatlas.errors import ConfigError, RunError, SpecError
from weightatlas.fit.config import FitConfig
from weightatlas.fit.job import FitJob, plan, run_job, sweep, sweep_jobs
from weightatlas.zoo.populate import populate
from weightatlas.zoo.recipe import Recipe

CLOSE = {"rtol": 1e-3, "atol": 1e-3}  # each process times the engines of its population
RECIPE = {
    "name": "sweep",
    "task": "digits",
    "task_options": {"train_size": 96},
    "network": "mlp",
    "network_options": {"hidden": [4]},
    "epochs": 1,
    "grid": {"lr": [1e-3]},
    "replicates": 32,
}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> FitJob:
    folder = tmp_path_factory.mktemp("job")
    populate(Recipe.build(RECIPE), folder / "zoo")
    small = {"dim": 8, "layers": 1, "heads": 2, "latent": 2}
    return FitJob("sane", small, FitConfig(steps=2, batch=4), folder / "zoo", folder / "run")


def test_every_combination_has_its_folder(job: FitJob) -> None:
    jobs = sweep_jobs(job, {"seed": [0, 1], "latent": [2, 3], "lr": [1e-3]})
    names = [found.out.name for found in jobs]
    assert len(set(names)) == 4
    assert names[0] == "seed=0-latent=2-lr=0.001"
    assert [found.init_seed for found in jobs] == [0, 0, 1, 1]
    assert [found.training.seed for found in jobs] == [0, 0, 1, 1]
    assert [found.settings["latent"] for found in jobs] == [2, 3, 2, 3]


def test_what_is_wrong_is_said_before_training(job: FitJob) -> None:
    with pytest.raises(ConfigError, match="2 problems") as error:
        sweep_jobs(job, {"latnt": [1], "seed": 3})  # type: ignore[dict-item]
    assert "'latnt' is no setting of sane" in str(error.value)
    assert "'seed' needs a list" in str(error.value)
    with pytest.raises(ConfigError, match="lr"):
        sweep_jobs(job, {"lr": [-1.0]})


def test_a_sweep_equals_its_runs_and_is_not_done_twice(job: FitJob, tmp_path: Path) -> None:
    from dataclasses import replace

    from joblib.externals.loky import get_reusable_executor

    whole = replace(job, out=tmp_path / "sweep")
    try:
        lines = sweep(whole, {"seed": [0, 1]}, "processes")
    finally:
        get_reusable_executor().shutdown(wait=True)
    assert [line["run"] for line in lines] == ["seed=0", "seed=1"]
    assert all(line["finished"] for line in lines)
    assert sweep(whole, {"seed": [0, 1]}) == lines
    alone = replace(job, out=tmp_path / "alone", training=job.training.replace(seed=1), init_seed=1)
    run_job(alone)
    first, second = (from_pretrained(path / "encoder") for path in (alone.out, whole.out / "seed=1"))
    for (name, ours), theirs in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name, **CLOSE)


def test_relative_folders_are_those_of_the_caller(
    job: FitJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    monkeypatch.chdir(job.zoo.parent)
    own = replace(job, zoo=Path(job.zoo.name), out=Path("swept"))
    lines = sweep(own, {"seed": [0]}, Elsewhere(tmp_path / "other"))
    assert [line["run"] for line in lines] == ["seed=0"]
    assert (job.zoo.parent / "swept" / "seed=0" / "encoder").is_dir()
    assert not list((tmp_path / "other").iterdir())


def test_another_start_or_other_queries_are_another_run(job: FitJob, tmp_path: Path) -> None:
    from dataclasses import replace

    own = replace(job, out=tmp_path / "run")
    run_job(own)
    with pytest.raises(RunError, match="init_seed: was 0, is 1"):
        run_job(replace(own, init_seed=1))
    with pytest.raises(RunError, match="the queries are others"):
        run_job(replace(own, query_source="uniform"))


def test_a_plan_trains_nothing(job: FitJob) -> None:
    assert plan(job)["training rows"] > 0
    assert not job.out.exists()


def test_a_zoo_larger_than_the_budget_trains_the_same(
    job: FitJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    structural = FitConfig.build({"steps": 4, "batch": 4, "loss": {"gamma": 0.0, "beta": 1.0}})
    found = []
    for budget in ("2048", "0.01"):
        monkeypatch.setenv("WEIGHTATLAS_MEMORY_MB", budget)
        own = replace(job, training=structural, out=tmp_path / budget)
        run_job(own)
        assert (own.out / "training.rows.0").exists() == (budget == "0.01")
        found.append(from_pretrained(own.out / "encoder").state_dict())
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name


def test_a_zoo_of_several_layouts_is_taken_by_encoders_of_any_and_refused_by_others(
    park: Park, tmp_path: Path
) -> None:
    def of(method: str, **settings: object) -> FitJob:
        return FitJob(method, settings, FitConfig(steps=1), park.zoo, tmp_path / method)

    facts = plan(of("deep_sets", width=8, layers=1))
    assert facts["layouts"] > 1
    assert " to " in facts["parameters of a network"]
    for executing in ("probes",):
        assert plan(of(executing))["layouts"] == facts["layouts"]
    with pytest.raises(SpecError, match=f"'mlp' works on one layout, these networks have {facts['layouts']}"):
        plan(of("mlp"))
