"""--memory-budget works before any verb looks at its words."""

import os

import pytest

from weightatlas.cli import main


def test_the_budget_reaches_the_library(zoo, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("WEIGHTATLAS_MEMORY_MB", "1")
    assert main(["zoo", "info", str(zoo), "--memory-budget", "300", "--json"]) == 0
    assert os.environ["WEIGHTATLAS_MEMORY_MB"] == "300"
    out = str(zoo.parent / "refused")
    words = ["zoo", "populate", "digits", "--tier", "smoke", "--out", out, "--memory-budget", "lots"]
    assert main(words) == 1
    assert "The memory budget 'lots' is no number" in capsys.readouterr().err
