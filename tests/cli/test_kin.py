"""zoo tree, zoo dedupe, and search on an imported zoo."""

import json

import torch

from tests.cli.test_compare import write
from tests.relate.small import drifted, mlp, networks
from weightatlas.cli import main
from weightatlas.relate.family import permuted, pruned


def make_zoo(folder):
    base = networks(mlp(), 2)
    kin = {"base": base[0], "tuned": drifted(base[0], 0.3), "small": pruned(base[:1], mlp(), [0.6])[0]}
    kin |= {"copy": base[0], "shuffled": permuted(base[1:], mlp())[0], "stranger": base[1]}
    (folder / "files").mkdir()
    for name, vector in kin.items():
        write(folder / "files" / f"{name}.safetensors", vector)
    words = ["zoo", "import", str(folder / "files"), "--network", "mlp", "--set", "hidden=[20,16]"]
    assert main([*words, "--out", str(folder / "zoo"), "--json"]) == 0
    return str(folder / "zoo")


def test_tree_dedupe_and_search(tmp_path, capsys):
    torch.manual_seed(0)
    zoo = make_zoo(tmp_path)
    capsys.readouterr()
    assert main(["zoo", "tree", zoo, "--out", str(tmp_path / "tree.html"), "--json"]) == 0
    shown = capsys.readouterr()
    assert "comparing pairs of networks: done" in shown.err
    found = json.loads(shown.out)
    assert len(found["roots"]) == 2
    assert {tuple(edge["changes"]) for edge in found["edges"]} >= {("pruned",), ("permuted",), ("identical",)}
    assert "<svg" in (tmp_path / "tree.html").read_text(encoding="utf-8")
    assert main(["zoo", "tree", zoo, "--out", "tree.pdf"]) == 2
    capsys.readouterr()
    assert main(["zoo", "dedupe", zoo, "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)
    assert sorted(group["kind"] for group in groups["groups"]) == ["copies", "exact"]
    assert groups["bytes saved"] == 2 * 4 * mlp().params
    like = str(tmp_path / "files" / "tuned.safetensors")
    assert main(["search", zoo, "--like", like, "--top", "5", "--json"]) == 0
    shown = capsys.readouterr()
    assert "searching networks: done" in shown.err
    rows = json.loads(shown.out)
    assert [row["related"] for row in rows] == [True] * 4 + [False]


def test_zoos_of_several_layouts(tmp_path, capsys):
    """Trees stand side by side, and a search looks among networks of the file's layout."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    (tmp_path / "files").mkdir()
    first, second = torch.nn.LSTM(6, 16), torch.nn.Linear(3, 2)
    tuned = {name: value + 0.05 * torch.randn_like(value) for name, value in first.state_dict().items()}
    states = {"a": first.state_dict(), "b": tuned, "c": second.state_dict(), "d": second.state_dict()}
    for name, state in states.items():
        save_file(
            {key: value.clone() for key, value in state.items()}, tmp_path / "files" / f"{name}.safetensors"
        )
    zoo = str(tmp_path / "zoo")
    assert main(["zoo", "import", str(tmp_path / "files"), "--out", zoo, "--json"]) == 0
    capsys.readouterr()
    assert main(["zoo", "tree", zoo, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    pairs = {frozenset((edge["parent"], edge["child"])): edge["changes"] for edge in found["edges"]}
    assert pairs == {
        frozenset(("a_safetensors", "b_safetensors")): ["fine-tuned"],
        frozenset(("c_safetensors", "d_safetensors")): ["identical"],
    }
    assert main(["zoo", "dedupe", zoo, "--json"]) == 0
    assert [group["networks"] for group in json.loads(capsys.readouterr().out)["groups"]] == [
        ["c_safetensors", "d_safetensors"]
    ]
    assert main(["search", zoo, "--like", str(tmp_path / "files" / "b.safetensors"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["network"], row["related"]) for row in rows] == [
        ("b_safetensors", True),
        ("a_safetensors", True),
    ]
