"""Token data sets of SANE: samples put back together, standardization undone, windows named."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from weightatlas.errors import DataError, NoCode, ZooError
from weightatlas.zoo.importers.published import format_of, import_published
from weightatlas.zoo.importers.token_sets import TokenSample, destandardize

SHAPES = ((8, 1, 5, 5), (6, 8, 5, 5), (4, 6, 2, 2), (20, 36), (10, 20))
WIDTH = 201


def network() -> dict[str, Tensor]:
    made = {}
    for index, shape in zip((0, 3, 6, 9, 11), SHAPES, strict=True):
        made[f"module_list.{index}.weight"] = torch.randn(shape)
        made[f"module_list.{index}.bias"] = torch.randn(shape[0])
    return made


def tokens_of(state: dict[str, Tensor], means: Tensor, stds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Tokenize as the release does: a channel a token, its bias last, zeros behind."""
    rows, masks, places = [], [], []
    for layer, index in enumerate((0, 3, 6, 9, 11)):
        weight, bias = state[f"module_list.{index}.weight"], state[f"module_list.{index}.bias"]
        block = torch.cat([weight.flatten(1), bias[:, None]], dim=1)
        block = (block - means[layer]) / stds[layer]
        for channel, row in enumerate(block):
            rows.append(torch.nn.functional.pad(row, (0, WIDTH - len(row))))
            masks.append(torch.arange(WIDTH) < len(row))
            places.append([len(places), layer, channel])
    return torch.stack(rows), torch.stack(masks), torch.tensor(places, dtype=torch.int16)


def write(folder: Path, part: str, states: list[dict[str, Tensor]], window: int | None = None) -> None:
    place = folder / f"dataset_torch.{part}"
    place.mkdir(parents=True)
    means, stds = torch.linspace(-1, 1, 5), torch.linspace(0.5, 2, 5)
    for index, state in enumerate(states):
        w, m, p = (one[:window] for one in tokens_of(state, means, stds))
        views = torch.stack([w, w.flip(0)])  # the first view is the canonical one
        props = torch.tensor([0.1 * index, 5.0 * (1 + index % 2), 0.02])
        torch.save({"w": views, "m": m, "p": p, "props": props}, place / f"sample_{index}.pt")
    about = {"num_samples": len(states), "properties": ["test_acc", "training_iteration", "ggap"]}
    (folder / f"dataset_info_{part}.json").write_text(json.dumps({**about, "standardize": True}))
    layers = {
        f"module_list.{index}.weight": {"mean": mean, "std": std}
        for index, mean, std in zip((0, 3, 6, 9, 11), means.tolist(), stds.tolist(), strict=True)
    }
    (folder / f"dataset_normalization_{part}.json").write_text(json.dumps({**layers, "mode": "standardize"}))


def flat(state: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in state.values()])


def test_samples_become_the_networks_they_were_made_of(tmp_path: Path) -> None:
    states = [network() for _ in range(5)]
    write(tmp_path / "tokens", "train", states[:4])
    write(tmp_path / "tokens", "test", states[4:])
    assert format_of(tmp_path / "tokens") == "token_sets"
    done = import_published(tmp_path / "tokens", tmp_path / "zoo")
    values = done.zoo.weights().values
    torch.testing.assert_close(values, torch.stack([flat(state) for state in states]), rtol=1e-5, atol=1e-5)
    assert [len(done.zoo.split(part, by="official")) for part in ("train", "test")] == [4, 1]
    assert done.zoo.column("step").tolist() == [5, 10, 5, 10, 5]
    assert len(set(done.zoo.column("lineage"))) == 3  # an epoch that goes back starts a new run
    assert done.zoo.column("test_acc")[1] == pytest.approx(0.1)
    with pytest.raises(NoCode):
        done.zoo.population()


def test_with_its_network_a_token_set_can_be_run(tmp_path: Path) -> None:
    write(tmp_path / "tokens", "train", [network()])
    about = {"network": "cnn_small", "options": {"activation": "tanh"}}
    zoo = import_published(tmp_path / "tokens", tmp_path / "zoo", "token_sets", **about).zoo
    assert zoo.population(engine="loop")(zoo.weights().values, torch.randn(2, 1, 28, 28)).shape == (1, 2, 10)
    with pytest.raises(ZooError, match="are not those of 'cnn3'"):
        import_published(tmp_path / "tokens", tmp_path / "other", "token_sets", network="cnn3")


def test_windows_are_named_and_not_invented(tmp_path: Path) -> None:
    write(tmp_path / "tokens", "train", [network()], window=32)
    with pytest.raises(ZooError, match="holds 32 tokens"):
        import_published(tmp_path / "tokens", tmp_path / "zoo")


def test_both_normalizations_are_undone() -> None:
    tokens = torch.tensor([[-1.0, 0.0, 1.0]])
    sample = TokenSample(tokens, torch.ones(1, 3).bool(), torch.zeros(1, 3).long(), ())
    found = destandardize(sample, {"a": {"min": 2.0, "max": 6.0}, "mode": "minmax"})
    assert found.tolist() == [[2.0, 4.0, 6.0]]
    found = destandardize(sample, {"a": {"mean": 1.0, "std": 2.0}, "mode": "standardize"})
    assert found.tolist() == [[-1.0, 1.0, 3.0]]
    assert destandardize(sample, {"mode": None}) is tokens
    deeper = TokenSample(tokens, sample.mask, torch.ones(1, 3).long(), ())
    with pytest.raises(DataError, match="1 layers, the sample 2"):
        destandardize(deeper, {"a": {"mean": 0.0, "std": 1.0}, "mode": "standardize"})


def test_a_damaged_sample_is_counted(tmp_path: Path) -> None:
    write(tmp_path / "tokens", "train", [network(), network()])
    torch.save({"w": torch.ones(3, 4)}, tmp_path / "tokens" / "dataset_torch.train" / "sample_1.pt")
    done = import_published(tmp_path / "tokens", tmp_path / "zoo")
    assert done.coverage == 0.5
    (tmp_path / "tokens" / "dataset_torch.train" / "sample_1.pt").unlink()
    assert import_published(tmp_path / "tokens", tmp_path / "first", limit=1).coverage == 1.0
    assert "w, m and p" in done.skipped["dataset_torch.train/sample_1.pt"]
