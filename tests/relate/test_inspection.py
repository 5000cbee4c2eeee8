"""Inspecting many files at once gives what inspecting each alone gives."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.weights.files.collection import keras_file
from weightatlas.predict import PropertyPredictor
from weightatlas.predict.estimate import Estimator
from weightatlas.relate import inspection
from weightatlas.relate.inspection import Inspector
from weightatlas.weights.batch import batch_of
from weightatlas.weights.infer import infer
from weightatlas.weights.vector import flatten


def state(seed: int, width: int = 16) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(12, width), nn.ReLU(), nn.Linear(width, 4))
    return {name: tensor + 0.2 for name, tensor in network.state_dict().items()}


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = []
    for seed in range(6):
        paths.append(tmp_path / f"{seed}.safetensors")
        save_file(state(seed, 16 if seed % 3 else 20), paths[-1])
    bad = state(7)
    bad["0.weight"][0, 0] = math.nan
    torch.save({"state_dict": bad}, tmp_path / "bad.pt")
    save_file(state(1), tmp_path / "copy.safetensors")
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04 cut off")
    return [*paths, tmp_path / "bad.pt", tmp_path / "copy.safetensors", tmp_path / "broken.pt"]


def test_families_health_and_copies(files):
    found, failed = Inspector().inspect(files)
    assert [one.family.name for one in found[:3]] == ["MLP 12-20-4", "MLP 12-16-4", "MLP 12-16-4"]
    assert found[0].family.fingerprint != found[1].family.fingerprint == found[2].family.fingerprint
    assert [one.health for one in found[:6]] == ["ok"] * 6
    assert found[6].health.startswith("1 not finite")
    assert found[6].not_finite == 1
    assert found[6].opened == ("state_dict",)
    assert found[7].same_as == str(files[1])
    assert [path.name for path in failed] == ["broken.pt"]
    assert [one.parameters for one in found[:2]] == [12 * 20 + 20 + 20 * 4 + 4, 12 * 16 + 16 + 16 * 4 + 4]


def test_batches_change_nothing(files, monkeypatch):
    together, _ = Inspector().inspect(files)
    monkeypatch.setattr(inspection, "_FILES", 1)
    alone, _ = Inspector().inspect(files)
    for one, other in zip(together, alone, strict=True):
        assert (one.file, one.health, one.findings, one.digest) == (
            other.file,
            other.health,
            other.findings,
            other.digest,
        )
        for row, same in zip(one.rows, other.rows, strict=True):
            assert row == {key: pytest.approx(value) for key, value in same.items()}


def test_memory_is_bounded_by_the_sum_of_file_sizes(files, monkeypatch):
    size = files[0].stat().st_size
    monkeypatch.setattr(inspection, "_BYTES", 2 * size)
    lengths = [len(batch) for batch in inspection._batches(files)]
    assert sum(lengths) == len(files)
    assert max(lengths) <= 3


def test_integer_and_half_tensors_are_described(tmp_path):
    path = tmp_path / "mixed.safetensors"
    save_file({"w": torch.ones(4, 3).bfloat16(), "b": torch.zeros(4), "steps": torch.tensor(3)}, path)
    ((one,), _) = Inspector().inspect([path])
    assert one.dtype == "bfloat16, float32"
    rows = {row["name"]: row for row in one.rows}
    assert rows["steps"]["role"] == "counter"
    assert (rows["w"]["mean"], rows["w"]["std"], rows["w"]["not finite"]) == (1.0, 0.0, 0)


@pytest.fixture
def predictor() -> PropertyPredictor:
    states = [state(seed) for seed in range(60)]
    spec = infer(states[0]).spec
    values = flatten(states, spec)
    labels = values[:, :192].std(1)
    train, val = (batch_of(values[a:b], spec, test_acc=labels[a:b]) for a, b in ((0, 40), (40, 60)))
    return PropertyPredictor("layer_statistics").fit(train, "test_acc", validation=val)


def test_a_run_gives_an_estimate_with_its_interval_or_the_reason(files, predictor, tmp_path):
    predictor.save(tmp_path / "run")
    found, _ = Inspector(Estimator.open(tmp_path / "run")).inspect(files)
    (good,) = found[1].estimates
    true = state(1)["0.weight"].std().item()
    assert good.low <= good.value <= good.high
    assert good.value == pytest.approx(true, abs=0.02)
    (other,) = found[0].estimates
    assert other.value is None
    assert "fitted on layout" in other.reason
    (bad,) = found[6].estimates
    assert bad.reason == "some of its values are not finite"


def test_the_estimate_does_not_depend_on_names_or_the_order_in_the_file(predictor, tmp_path):
    predictor.save(tmp_path / "run")
    renamed = {name.replace("0.", "net.0.").replace("2.", "net.2."): t for name, t in state(1).items()}
    paths = [tmp_path / "plain.pt", tmp_path / "renamed.pt"]
    torch.save(dict(reversed(state(1).items())), paths[0])
    torch.save(renamed, paths[1])
    found, _ = Inspector(Estimator.open(tmp_path / "run")).inspect(paths)
    first, second = (one.estimates[0].value for one in found)
    assert first == pytest.approx(second)


def test_a_network_that_is_not_understood_does_not_hide_the_others(files, monkeypatch):
    odd = files[0].with_name("odd.safetensors")
    save_file({"odd": torch.ones(3)}, odd)
    examine = Inspector._examine

    def fail(self, group):
        if "odd" in group[0].stored.tensors:
            raise IndexError("not foreseen")
        examine(self, group)

    monkeypatch.setattr(Inspector, "_examine", fail)
    found, failed = Inspector().inspect([*files[:2], odd])
    assert [one.file for one in found] == [str(file) for file in files[:2]]
    assert list(failed) == [odd]
    assert "not understood: IndexError" in failed[odd]


def test_flattens_of_keras_files_keep_their_channels_fixed(tmp_path):
    keras_file(tmp_path / "a.h5")
    found, failed = Inspector().inspect([tmp_path / "a.h5"])
    assert not failed
    assert any("positions first" in guess for guess in found[0].guesses)
