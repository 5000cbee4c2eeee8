"""Two processes train what one trains: the same encoder up to the order of additions.

Tolerance: a step adds gradients in another order, which changes their last bits (relative 1e-7). Adam divides
a gradient by its own size, so a step changes by as much, and nine steps stay below 1e-5 of the weights.
A view drawn otherwise, or a contrastive loss that sees half of the networks, changes them by 1e-3.
"""

import json
import sys
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.encoders import small
from tests.encoders.test_io import SIZES
from weightatlas import processes
from weightatlas.encoders.base import Encoder
from weightatlas.encoders.heads import HeadConfig
from weightatlas.encoders.io import create_encoder
from weightatlas.errors import ConfigError, FileError, RunError, WeightAtlasError
from weightatlas.fit import FitConfig, FitResult, fit
from weightatlas.objectives import Composite, Objective, Step, ViewConfig, recipe
from weightatlas.predict.finetune import Finetuning, finetune
from weightatlas.symmetry.verify import spec_of
from weightatlas.tracking import read_metrics
from weightatlas.weights.batch import Batch, Weights, batch_of
from weightatlas.zoo import Zoo
from weightatlas.zoo.populate import populate
from weightatlas.zoo.recipe import Recipe

RECIPE = {
    "name": "pair",
    "task": "digits",
    "task_options": {"train_size": 96},
    "network": "mlp",
    "network_options": {"hidden": [4]},
    "epochs": 1,
    "grid": {"lr": [1e-3, 1e-2]},
    "replicates": 16,
}


@lru_cache
def opened(folder: Path) -> Zoo:
    return Zoo.open(folder / "zoo")


def rebuild(folder: Path, out: str, **settings: object) -> FitResult:
    """All terms of SANE on digits networks, with every kind of random view."""
    zoo = opened(folder)
    encoder = create_encoder("sane", zoo.spec, dim=8, layers=1, heads=2, latent=2)
    usual = {"passes": 3, "batch": 7, "queries": 8, "loss": recipe("CSB"), "checkpoint_minutes": 0.0}
    config = FitConfig.build({**usual, "views": ViewConfig(noise=0.1, erase=0.5), **settings})
    pool = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    population = zoo.population(engine="loop")
    more = {"queries": pool, "population": population, "validation": zoo.split("val")}
    return fit(encoder, zoo.split("train"), config, folder / out, **more)


def labelled(seed: int) -> Batch:
    """Networks of two specs, which steps mix."""
    other = spec_of(torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)), (4,))
    generator = torch.Generator().manual_seed(seed)
    values = (small.values(9, seed), torch.randn(8, other.params, generator=generator))
    rows = (torch.arange(9), torch.arange(9, 17))
    groups = tuple(Weights(v, s, r) for v, s, r in zip(values, (small.spec(), other), rows, strict=True))
    return Batch(groups, {"score": torch.cat([v.square().mean(1) for v in values])})


def supervise(seed: int = 0, **settings: object) -> Encoder:
    """Property and invariance terms, a head, validation by rank correlation."""
    tuning = Finetuning.build(
        {
            "fit": {"passes": 3, "batch": 5, **settings},
            "head": HeadConfig(hidden=(4,)),
            "invariance": 0.3,
            "augment": True,
        }
    )
    encoder = create_encoder("deep_sets", **SIZES["deep_sets"])
    return finetune(encoder, labelled(seed), ("score",), tuning, labelled(7)).encoder


class Silent(Objective):
    """A term that does not say how processes share it."""

    name = "silent"

    def forward(self, step: Step) -> dict[str, torch.Tensor]:
        return {self.name: step.encoded.embedding.square().mean()}


def refused(name: str, batch: int = 8, **settings: int | float) -> str:
    """What is said of a training that several processes cannot share."""
    encoder = create_encoder(name, small.spec(), **{**SIZES.get(name, {}), **settings})
    loss = Composite({"silent": (Silent(), 1.0)})
    with pytest.raises((ConfigError, processes.Elsewhere)) as caught:
        fit(encoder, batch_of(small.values(9), small.spec()), FitConfig(passes=1, batch=batch), loss=loss)
    return str(caught.value)


def said(work: object) -> list[str]:
    """Kind and text of the error a call ends with."""
    try:
        work()  # type: ignore[operator]
    except WeightAtlasError as error:
        return [type(error).__name__, str(error)]
    return []


def child(folder: Path) -> None:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    own = processes.connect("cpu")
    answers: dict[str, object] = {}
    rebuild(folder, "two")
    rebuild(folder, "parts", max_seconds=1e-9)
    encoder = supervise()
    for key, arguments in {"silent": ("mlp", 8), "small": ("mlp", 1), "norm": ("dws", 8)}.items():
        answers[key] = refused(*arguments)
    answers["dropout"] = refused("sane", dropout=0.1, dim=8, heads=2, layers=1)
    answers["others"] = said(lambda: supervise(seed=own.rank))
    answers["one fails"] = said(lambda: one_fails(own))
    (folder / f"{own.rank}.json").write_text(json.dumps(answers))
    save_file(encoder.state_dict(), folder / f"{own.rank}.safetensors")
    processes.leave()


def one_fails(own: processes.Processes) -> None:
    with own.shared():
        if own.rank == 1:
            raise FileError("Process 1 cannot read this.")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which two processes have worked, after one step by one process."""
    folder = tmp_path_factory.mktemp("pair")
    populate(Recipe.build(RECIPE), folder / "zoo")
    assert rebuild(folder, "parts", max_seconds=1e-9).steps == 1
    code = f"from pathlib import Path; from tests.fit import test_run as t; t.child(Path({str(folder)!r}))"
    assert processes.launch([sys.executable, "-c", code], 2, 2) == 0
    return folder


def answers_of(pair: Path) -> tuple[dict, dict]:
    first, second = (json.loads((pair / f"{rank}.json").read_text()) for rank in (0, 1))
    return first, second


def assert_near(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], msg=name, rtol=1e-4, atol=1e-5)


def timeless(out: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in read_metrics(out / "metrics.jsonl")]


def test_two_processes_train_the_encoder_of_one(pair: Path) -> None:
    alone = rebuild(pair, "one")
    assert alone.steps == 9
    assert_near(load_file(pair / "two" / "encoder" / "model.safetensors"), alone.encoder.state_dict())
    ours, theirs = timeless(pair / "two"), timeless(pair / "one")
    assert len(ours) == len(theirs) == 3
    for mine, line in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(line, rel=1e-4, abs=1e-6)


def test_a_run_is_continued_by_another_number_of_processes(pair: Path) -> None:
    """One process did the first step, two the second, one does the rest."""
    rest = rebuild(pair, "parts")
    assert rest.steps == 9
    whole = rebuild(pair, "one")
    assert_near(dict(rest.encoder.state_dict()), dict(whole.encoder.state_dict()))
    assert len(timeless(pair / "parts")) == 3


def test_heads_and_mixed_specs_are_shared(pair: Path) -> None:
    alone = supervise()
    for rank in (0, 1):
        assert_near(load_file(pair / f"{rank}.safetensors"), dict(alone.state_dict()))


def test_what_cannot_be_equal_is_refused_by_name_once(pair: Path) -> None:
    first, second = answers_of(pair)
    for key, text in {
        "silent": "the term 'silent' does not say how",
        "small": "a step of 1 networks cannot be shared by 2 processes",
        "norm": "'dws' normalizes over the networks of a batch",
        "dropout": "'sane' draws random numbers in training (dropout)",
    }.items():
        assert text in first[key]
        assert second[key].startswith("Process 0 of 2 failed: ConfigError")


def test_processes_that_differ_or_fail_are_named_once(pair: Path) -> None:
    first, second = answers_of(pair)
    assert first["others"][0] == "RunError"
    assert "The processes differ in data." in first["others"][1]
    assert second["others"][0] == "Elsewhere"
    assert first["one fails"][0] == "Elsewhere"
    assert first["one fails"][1] == "Process 1 of 2 failed: FileError: Process 1 cannot read this."
    assert second["one fails"][0] == "FileError"


def test_a_lost_process_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(processes.dist, "all_reduce", broken)
    with pytest.raises(RunError, match="Another process of the training has ended: Connection closed"):
        processes.Processes(1, 2).sum(torch.ones(1))
