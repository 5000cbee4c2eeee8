"""report."""

import json

from tests.report.sample import full
from weightatlas.cli import main
from weightatlas.report import save_data


def test_a_fit_run_has_a_page(run, capsys):
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out.strip().endswith("report.html")
    assert "<svg" in (run / "report.html").read_text(encoding="utf-8")


def test_kept_data_are_drawn_again_elsewhere(tmp_path, capsys):
    save_data(tmp_path / "run", full())
    out = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "run"), "--out", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["report"] == str(out)
    assert len(printed["records"]) == 5
    assert "Digits &amp; &lt;friends&gt;" in out.read_text(encoding="utf-8")
