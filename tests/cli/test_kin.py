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
    found = json.loads(capsys.readouterr().out)
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
    rows = json.loads(capsys.readouterr().out)
    assert [row["related"] for row in rows] == [True] * 4 + [False]
