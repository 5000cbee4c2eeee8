"""Every example runs offline, on files it makes itself."""

import sys
from pathlib import Path

import pytest

from weightatlas import progress

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="examples are not installed with the package")
def test_my_own_checkpoints(tmp_path, monkeypatch, capsys):
    source = (EXAMPLES / "02_my_own_checkpoints.py").read_text(encoding="utf-8")
    assert "NETWORKS = 96" in source
    monkeypatch.setattr(sys, "argv", ["example", str(tmp_path / "own")])
    try:
        exec(
            compile(source.replace("NETWORKS = 96", "NETWORKS = 90"), "02_my_own_checkpoints.py", "exec"), {}
        )
    finally:
        progress.disable()
    out = capsys.readouterr().out
    assert "90 of 93 files (97%), 45 with renamed tensors" in out
    assert "MLP 64-16-10" in out
    assert "diverged.safetensors: 2.bias: 1 NaN" in out
    assert "R² on held-out networks: 0." in out
    assert "its true accuracy is" in out
    assert (tmp_path / "own" / "report.html").stat().st_size > 10_000
