"""The page of an inspection stands alone and escapes what files are called."""

import re

import torch
from safetensors.torch import save_file

from weightatlas.relate.inspection import Inspector
from weightatlas.report.inspection import facts_of, render, summary_row, write_inspection


def test_the_page_is_self_contained_and_names_everything(tmp_path):
    evil = tmp_path / "<b>.safetensors"
    save_file({"0.weight": torch.zeros(9, 8), "0.bias": torch.ones(9)}, evil)
    (tmp_path / "broken.pt").write_bytes(b"PK cut")
    found, failed = Inspector().inspect([evil, tmp_path / "broken.pt"])
    page = write_inspection(tmp_path / "page.html", found, failed, f"{tmp_path}/").read_text()
    assert not re.search(r"(?:src|href)=", page)
    assert "<b>.safetensors" not in page
    assert "&lt;b&gt;.safetensors" in page
    assert "all 72 values are zero" in page
    assert "broken.pt" in page
    assert "linear 8 → 9" in page
    assert page == render(found, failed, f"{tmp_path}/")


def test_rows_and_facts(tmp_path):
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for path in paths:
        save_file({"0.weight": torch.arange(12.0).reshape(3, 4), "0.bias": torch.ones(3)}, path)
    found, failed = Inspector().inspect(paths)
    rows = [summary_row(one, f"{tmp_path}/") for one in found]
    assert [row["file"] for row in rows] == ["a.safetensors", "b.safetensors"]
    assert rows[1]["health"].endswith("same numbers as a.safetensors")
    facts = facts_of(found, failed)
    assert (facts["networks"], facts["families"], facts["copies"]) == ("2", "2 × MLP 4-3", "1")
