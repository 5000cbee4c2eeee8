"""The README's Python runs as it is written, on small stand-ins for the reader's own files."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"<!-- runnable: (\w+) -->\n```python\n(.*?)```", TEXT, re.DOTALL))
OWN_CODE = """
from torch import nn


class MyNetwork(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
"""


@pytest.fixture
def own_files(tmp_path, monkeypatch):
    """What the reader has: code, checkpoints with results, images."""
    (tmp_path / "my_code.py").write_text(OWN_CODE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    from my_code import MyNetwork  # type: ignore[import-not-found]

    rng = np.random.default_rng(0)
    images = {"x_train": (200, 8, 8), "x_test": (60, 8, 8)}
    arrays = {name: rng.integers(0, 256, shape, dtype=np.uint8) for name, shape in images.items()}
    labels = {f"y_{part}": rng.integers(0, 10, len(arrays[f"x_{part}"])) for part in ("train", "test")}
    np.savez("my-images.npz", **arrays, **labels)
    folder = tmp_path / "my-checkpoints"
    folder.mkdir()
    lines = ["file,test_acc,val_acc"]
    for index in range(40):
        torch.save({"state_dict": MyNetwork().state_dict(), "epoch": 3}, folder / f"{index}.pt")
        lines.append(f"{index}.pt,{rng.random()},{rng.random()}")
    (folder / "results.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    yield tmp_path
    sys.modules.pop("my_code", None)


def test_the_own_networks_block_runs(own_files, capsys):
    block = BLOCKS["own"]
    assert "minutes=5" in block
    exec(compile(block.replace("minutes=5", "steps=2"), "README.md", "exec"), {})
    assert len(capsys.readouterr().out.split()) == 2
    assert (own_files / "runs" / "my-sane" / "encoder" / "config.json").exists()


def test_the_block_is_ten_lines_and_fits_the_page():
    lines = [
        line
        for line in BLOCKS["own"].splitlines()
        if line.strip() and not line.startswith(("from", "import"))
    ]
    assert len(lines) <= 10


def test_commands_of_the_readme_exist():
    from weightatlas.cli.main import find

    commands = re.findall(r"^(?:\.venv/bin/)?weightatlas ((?!--).+)$", TEXT, re.MULTILINE)
    assert len(commands) >= 4
    unknown = [command for command in commands if find(command.split()) is None]
    assert unknown in ([], ["quickstart --out runs/quickstart"])


def test_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", TEXT, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_files_the_readme_and_the_docs_name_exist():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
