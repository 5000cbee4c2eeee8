"""quickstart (the whole run is tested from the wheel, see test_wheel.py)."""

import json

from weightatlas.cli import main


def test_a_dry_run_trains_nothing(tmp_path, capsys):
    assert main(["quickstart", "--tier", "smoke", "--out", str(tmp_path / "q"), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["networks"] == 24
    assert list(tmp_path.iterdir()) == []
