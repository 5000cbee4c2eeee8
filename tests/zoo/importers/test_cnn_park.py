"""The CNN Wild Park: settings as objects of other people's classes, shortcuts, official split."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.zoo.importers.fixtures import save_objects, their_class
from weightatlas.errors import NoCode
from weightatlas.zoo.importers.published import format_of, import_published

ACT = {"relu": torch.relu, "tanh": torch.tanh, "gelu": nn.functional.gelu, "none": lambda x: x}


def settings(**changes: Any) -> dict[str, Any]:
    made = {"n_layers": 4, "n_classes": 10, "channels": [3, 8, 4, 16, 4], "kernel_size": [3, 5, 3, 7]}
    made |= {"stride": [1] * 4, "padding": [1, 2, 1, 3], "residual": [-1, -1, 0, 1]}
    return {**made, "activation": ["relu", "gelu", "tanh", "none"], **changes}


class Original(nn.Module):
    """A network of the park, with its shortcuts as the paper describes them."""

    def __init__(self, about: dict[str, Any]) -> None:
        super().__init__()
        self.about = about
        channels, parts = (
            about["channels"],
            zip(about["kernel_size"], about["stride"], about["padding"], strict=True),
        )
        self.layers = nn.ModuleList(
            nn.Conv2d(channels[i], channels[i + 1], k, s, p) for i, (k, s, p) in enumerate(parts)
        )
        self.fc = nn.Linear(channels[-1], about["n_classes"])

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for layer, source, name in zip(
            self.layers, self.about["residual"], self.about["activation"], strict=True
        ):
            x = layer(x)
            if source >= 0:
                shared = min(x.shape[1], kept[source].shape[1])
                x = torch.cat([x[:, :shared] + kept[source][:, :shared], x[:, shared:]], 1)
            x = ACT[name](x)
            kept.append(x)
        return self.fc(x.mean((2, 3)))


def write(folder: Path, run: str, network: Original, config: Any, step: int = 10) -> str:
    place = folder / "cifar10_zooV2" / run / f"checkpoint_{step:06d}"
    place.mkdir(parents=True)
    content = {
        "model": network.state_dict(),
        "optimizer": {"state": {}, "param_groups": []},
        "config": config,
    }
    content |= {"iteration": step, "last_result": {"test/acc": 0.4, "test/loss": 1.7, "done": False}}
    save_objects(content, place / "checkpoint.pt", "experiments", "omegaconf")
    return (place / "checkpoint.pt").relative_to(folder).as_posix()


def as_omegaconf(about: dict[str, Any]) -> Any:
    """Build what pickling an OmegaConf container leaves: nodes with parents and values."""
    node = their_class("omegaconf.nodes", "AnyNode")
    many = their_class("omegaconf.listconfig", "ListConfig")
    whole = their_class("omegaconf.dictconfig", "DictConfig")

    def wrap(value: Any, parent: Any) -> Any:
        made = (whole if isinstance(value, dict) else many if isinstance(value, list) else node)()
        inner = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        found = {key: wrap(item, made) for key, item in inner}
        kept = {"_content": found if isinstance(value, dict) else list(found.values())}
        made.__dict__ |= {"_parent": parent, "_metadata": None}
        made.__dict__ |= kept if isinstance(value, dict | list) else {"_val": value}
        return made

    return wrap(about, None)


def as_data_class(about: dict[str, Any]) -> Any:
    made = their_class("experiments.cnn_generalization.dataset.cnn_sampler", "CNNConfig")()
    made.__dict__ |= about
    return made


@pytest.mark.parametrize("wrap", [dict, as_omegaconf, as_data_class])
def test_checkpoints_compute_the_same(tmp_path: Path, wrap) -> None:
    network = Original(settings())
    file = write(tmp_path / "park", "run_a", network, wrap(settings()))
    split = {part: {"path": [], "score": [], "step": []} for part in ("train", "val", "test")}
    split["val"] = {"path": [file], "score": [0.4], "step": [10]}
    (tmp_path / "park" / "cnn_park_splits.json").write_text(json.dumps(split))
    assert format_of(tmp_path / "park") == "cnn_park"
    zoo = import_published(tmp_path / "park", tmp_path / "zoo").zoo
    images = torch.randn(2, 3, 32, 32)
    found = zoo.population(engine="loop")(zoo.weights().values, images)[0]
    torch.testing.assert_close(found, network(images), rtol=1e-4, atol=1e-5)
    row = zoo.table.rows()[0]
    assert (row["step"], row["test_acc"], row["split_official"]) == (10, 0.4, "val")
    assert row["lineage"] == "cifar10_zooV2/run_a"
    assert row["hp.n_layers"] == 4


def test_strides_the_family_does_not_have_come_without_code(tmp_path: Path) -> None:
    about = settings(stride=[2, 1, 1, 1], residual=[-1] * 4)
    write(tmp_path / "park", "run", Original(about), about)
    zoo = import_published(tmp_path / "park", tmp_path / "zoo").zoo
    with pytest.raises(NoCode):
        zoo.population()


def test_a_checkpoint_without_a_state_dict_is_named(tmp_path: Path) -> None:
    write(tmp_path / "park", "good", Original(settings()), settings())
    place = tmp_path / "park" / "cifar10_zooV2" / "bad" / "checkpoint_000001"
    place.mkdir(parents=True)
    torch.save({"optimizer": {}}, place / "checkpoint.pt")
    done = import_published(tmp_path / "park", tmp_path / "zoo")
    assert done.coverage == 0.5
    assert "no entry 'model'" in next(iter(done.skipped.values()))
