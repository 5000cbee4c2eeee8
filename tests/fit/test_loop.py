"""The training loop: it trains, stops, continues bit for bit, and refuses what cannot work."""

import os
import signal
from pathlib import Path

import pytest
import torch

from tests.encoders import small
from weightatlas.config import read_yaml
from weightatlas.encoders.base import Autoencoder, Encoder
from weightatlas.encoders.io import create_encoder, from_pretrained
from weightatlas.errors import ConfigError, RunError
from weightatlas.fit import FitConfig, fit
from weightatlas.fit import run as run_module
from weightatlas.objectives import LossConfig, ViewConfig, recipe
from weightatlas.symmetry.verify import spec_of
from weightatlas.tracking import read_metrics
from weightatlas.weights.batch import Batch, Weights, batch_of, weights_of


def make(**settings: object) -> Autoencoder:
    encoder = create_encoder("sane", small.spec(), dim=16, layers=1, heads=2, latent=3, **settings)
    assert isinstance(encoder, Autoencoder)
    return encoder


def run(out: Path | None = None, encoder: Autoencoder | None = None, **settings: object):
    config = FitConfig.build({"batch": 8, "queries": 16, **settings})
    return fit(
        encoder or make(),
        batch_of(small.values(20), small.spec()),
        config,
        out,
        queries=small.queries(),
        population=small.population(),
        validation=batch_of(small.values(6, seed=1), small.spec()),
    )


def test_training_lowers_the_behavioral_loss_and_validates():
    result = run(passes=30, lr=3e-3, loss=recipe("SB"))
    first, last = result.history[0], result.history[-1]
    assert last["behavioral"] < 0.5 * first["behavioral"]
    assert last["val/behavioral"] < first["val/behavioral"]
    assert 0 <= last["val/agreement"] <= 1
    assert result.steps == 90
    assert result.passes == 30
    assert result.finished
    assert not result.encoder.training


def test_training_starts_at_the_linear_code():
    """Step 0 of a PCA-skip encoder is PCA, to the last digit of its linear baseline."""
    encoder, baseline = make(), create_encoder("pca", small.spec(), latent=3)
    assert isinstance(baseline, Autoencoder)
    batch = batch_of(small.values(20), small.spec())
    encoder.adapt(batch)
    baseline.adapt(batch)
    weights = batch.groups[0]
    torch.testing.assert_close(encoder.reconstruct(weights), baseline.reconstruct(weights))


@pytest.mark.parametrize("schedule", ["cosine", "onecycle", "multistep", "constant"])
def test_schedules_train(schedule: str):
    result = run(None, make(skip="none"), passes=20, lr=3e-3, schedule=schedule, loss=recipe("S"))
    assert result.history[-1]["structural"] < 0.98 * result.history[0]["structural"]


def test_what_a_killed_save_left_goes_with_the_next(tmp_path: Path):
    left = [
        tmp_path / ".state.safetensors.0123abcd.tmp",
        tmp_path / "encoder/.model.safetensors.0123abcd.tmp",
    ]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    run(tmp_path, passes=1, loss=recipe("S"))
    assert not [path for path in left if path.exists()]


def test_interrupted_and_continued_equals_uninterrupted(tmp_path: Path):
    """Bit for bit on the CPU, with every term, noise, dropout and an interruption inside a pass."""
    settings = {"passes": 4, "loss": recipe("CSB"), "views": ViewConfig(noise=0.1, erase=0.5)}
    whole = run(tmp_path / "whole", make(dropout=0.1), **settings)
    stop_after(tmp_path / "parts", 5, settings)
    again = run(tmp_path / "parts", make(dropout=0.1), **settings)
    assert again.steps == whole.steps == 12
    for name, value in whole.encoder.state_dict().items():
        assert torch.equal(value, again.encoder.state_dict()[name]), name
    for name, value in whole.loss.state_dict().items():
        assert torch.equal(value, again.loss.state_dict()[name]), name
    timeless = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in r.history] for r in (whole, again)
    ]
    assert timeless[0] == timeless[1]
    assert len(read_metrics(tmp_path / "parts" / "metrics.jsonl")) == 4


def stop_after(out: Path, steps: int, settings: dict[str, object]) -> None:
    """Press Ctrl-C after some steps."""
    count = 0
    update = run_module.Run._update

    def counted(self, *arguments):
        nonlocal count
        count += 1
        if count == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return update(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module.Run, "_update", counted)
        with pytest.raises(KeyboardInterrupt):
            run(out, make(dropout=0.1), **settings)
    assert count == steps
    assert not (out / "encoder").exists()


def test_a_time_limit_stops_cleanly_and_the_same_call_continues(tmp_path: Path):
    first = run(tmp_path, passes=2, loss=recipe("SB"), max_seconds=1e-9)
    assert not first.finished
    assert first.steps == 1
    second = run(tmp_path, passes=2, loss=recipe("SB"))
    assert second.finished
    assert second.steps == 6


def test_minutes_anneal_to_the_end():
    result = run(minutes=0.02, loss=recipe("S"), validate_every=0)
    assert result.finished
    assert result.history[-1]["lr"] < 1e-4
    assert 1 <= result.seconds < 10


def test_a_finished_run_is_returned_without_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    done = run(tmp_path, passes=1, loss=recipe("S"))
    monkeypatch.setattr(run_module.Run, "_train", lambda *_: pytest.fail("trained again"))
    again = run(tmp_path, passes=1, loss=recipe("S"))
    assert again.finished
    assert again.history == done.history
    weights = batch_of(small.values(3), small.spec()).groups[0]
    saved = from_pretrained(tmp_path / "encoder")
    assert torch.equal(saved.encode(weights).codes, again.encoder.encode(weights).codes)


def test_other_settings_or_networks_are_not_continued(tmp_path: Path):
    run(tmp_path, passes=1, loss=recipe("S"))
    with pytest.raises(RunError, match=r"lr: was 0\.001, is 0\.01"):
        run(tmp_path, passes=1, loss=recipe("S"), lr=0.01)
    with pytest.raises(RunError, match="networks are others"):
        fit(
            make(),
            batch_of(small.values(20, seed=7), small.spec()),
            FitConfig(passes=1, batch=8, queries=16, loss=recipe("S")),
            tmp_path,
        )


def test_every_problem_is_listed_at_once():
    values = small.values(4)
    values[1, 3] = torch.nan
    config = FitConfig(passes=1, loss=LossConfig(), device="cud")
    with pytest.raises(ConfigError) as caught:
        fit(make(), batch_of(values, small.spec()), config)
    for part in ("1 of 4 training networks", "population=", "queries=", "no device 'cud'"):
        assert part in str(caught.value)


def test_queries_of_the_wrong_shape_are_found_by_the_trial():
    with pytest.raises(ConfigError, match="trial with one network failed"):
        fit(
            make(),
            batch_of(small.values(4), small.spec()),
            FitConfig(passes=1, loss=recipe("SB")),
            queries=torch.zeros(8, small.INPUTS + 1),
            population=small.population(),
        )


def test_divergence_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run_module, "PATIENCE", 2)
    encoder = make()
    encoder.register_parameter("bad", torch.nn.Parameter(torch.tensor(torch.nan)))
    original = encoder.scale
    encoder.scale = lambda spec: original(spec) * encoder.bad  # type: ignore[method-assign]
    with pytest.raises(RunError, match="2 steps in a row"):
        run(None, encoder, passes=2, loss=recipe("S"), validate_every=0)


def test_bf16_trains_through_accelerate():
    result = run(passes=20, lr=3e-3, loss=recipe("SB"), precision="bf16", validate_every=0)
    assert result.history[-1]["loss"] < 0.9 * result.history[0]["loss"]
    assert all(p.dtype == torch.float32 for p in result.encoder.parameters())


def test_lengths_are_exclusive():
    with pytest.raises(ConfigError, match="exactly one of passes"):
        FitConfig.build({"passes": 1, "minutes": 1})
    with pytest.raises(ConfigError, match="did you mean 'passes'"):
        FitConfig.build({"pases": 1})


def test_a_refused_call_leaves_the_settings_of_the_run(tmp_path: Path):
    run(tmp_path, passes=1, loss=recipe("S"))
    settings = (tmp_path / "config.yaml").read_text()
    with pytest.raises(RunError):
        run(tmp_path, passes=1, loss=recipe("S"), lr=0.01)
    assert (tmp_path / "config.yaml").read_text() == settings


def test_other_queries_or_another_start_are_not_continued(tmp_path: Path):
    def again(queries: torch.Tensor, start: int | None):
        config = FitConfig.build({"passes": 1, "batch": 8, "queries": 16, "loss": recipe("SB")})
        batch = batch_of(small.values(20), small.spec())
        about = None if start is None else {"init_seed": start}
        more = {"queries": queries, "population": small.population(), "about": about}
        return fit(make(), batch, config, tmp_path, **more)

    again(small.queries(), 0)
    assert again(small.queries(), 0).finished
    with pytest.raises(RunError, match="the queries are others"):
        again(small.queries() + 1, 0)
    with pytest.raises(RunError, match="init_seed: was 0, is 1"):
        again(small.queries(), 1)
    with pytest.raises(RunError, match="init_seed: was 0, is None"):
        again(small.queries(), None)


def test_stopping_after_any_step_loses_no_line_and_no_validation(tmp_path: Path):
    """Five steps of a pass of three: the last, partial pass is logged and validated as well."""
    settings = {"steps": 5, "loss": recipe("S"), "select": "val/structural", "lr": 3e-2}
    whole = run(tmp_path / "whole", **settings)
    assert [line["step"] for line in whole.history] == [3, 5]
    for _ in range(20):
        parts = run(tmp_path / "parts", max_seconds=1e-9, **settings)
        if parts.finished:
            break
    timeless = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in r.history] for r in (whole, parts)
    ]
    assert timeless[0] == timeless[1]
    for name, value in whole.encoder.state_dict().items():
        assert torch.equal(value, parts.encoder.state_dict()[name]), name


def test_problems_of_validation_networks_are_found_before_training():
    values = small.values(4, seed=1)
    values[0, 0] = torch.inf
    other = spec_of(torch.nn.Linear(small.INPUTS, small.CLASSES), (small.INPUTS,))
    odd = weights_of(torch.zeros(2, other.params), other)
    held = Batch((weights_of(values, small.spec()), Weights(odd.values, other, odd.rows + 4)))
    with pytest.raises(ConfigError) as caught:
        fit(
            make(),
            batch_of(small.values(4), small.spec()),
            FitConfig(passes=1, loss=recipe("SB")),
            queries=small.queries(),
            population=small.population(),
            validation=held,
        )
    assert "1 of 4 validation networks" in str(caught.value)
    assert "layout" in str(caught.value)
    assert "the validation networks have 2" in str(caught.value)


def test_principal_components_are_fitted_in_closed_form(tmp_path: Path):
    """No step may move them: a trained linear code is another encoder, and no floor."""
    plain = create_encoder("pca", small.spec(), latent=3)
    plain.adapt(batch_of(small.values(20), small.spec()))
    batch = batch_of(small.values(20), small.spec())
    result = fit(create_encoder("pca", small.spec(), latent=3), batch, out=tmp_path)
    assert result.steps == 0
    saved = from_pretrained(tmp_path / "encoder").state_dict()
    for name, value in plain.state_dict().items():
        assert torch.equal(value, saved[name]), name
    assert read_yaml(tmp_path / "config.yaml")["latent"] == 3


def test_an_encoder_that_is_trained_needs_a_length():
    with pytest.raises(ConfigError, match="how long to train the encoder 'sane'"):
        fit(make(), batch_of(small.values(4), small.spec()))


def test_every_pass_is_shown_and_looking_changes_nothing():
    seen = []
    config = FitConfig(passes=3, batch=8, loss=recipe("S"))
    batch = batch_of(small.values(20), small.spec())

    def look(encoder: Encoder, number: int) -> None:
        encoder.eval()
        seen.append((number, encoder.embed(batch)))
        encoder.train()

    watched, alone = make(), make()
    alone.load_state_dict(watched.state_dict())
    fit(watched, batch, config, on_pass=look)
    fit(alone, batch, config)
    assert [number for number, _ in seen] == [1, 2, 3]
    assert not torch.equal(seen[0][1], seen[2][1])
    assert torch.equal(seen[2][1], alone.embed(batch))
