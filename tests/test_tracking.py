"""Metrics: one JSON line each, forgiving after a crash, exact after a resume."""

from pathlib import Path

import pytest

from weightatlas.errors import ConfigError, FileError
from weightatlas.tracking import Tracker, read_metrics


def test_lines_are_written_at_once(tmp_path: Path):
    tracker = Tracker(tmp_path)
    tracker.log(1, {"loss": 0.5})
    tracker.log(2, {"loss": 0.25})
    assert (
        read_metrics(tmp_path / "metrics.jsonl")
        == tracker.history
        == [
            {"step": 1, "loss": 0.5},
            {"step": 2, "loss": 0.25},
        ]
    )


def test_a_resumed_run_forgets_later_lines_and_a_torn_one(tmp_path: Path):
    tracker = Tracker(tmp_path)
    for step in (1, 2, 3):
        tracker.log(step, {"loss": 1 / step})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "lo')
    again = Tracker(tmp_path, upto=2)
    again.log(3, {"loss": 9.0})
    assert [line["loss"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1.0, 0.5, 9.0]


def test_damage_in_the_middle_is_named(tmp_path: Path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(FileError, match="Line 2"):
        read_metrics(tmp_path / "metrics.jsonl")
    with pytest.raises(FileError, match="cannot be read"):
        read_metrics(tmp_path / "none.jsonl")


def test_unknown_sinks_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="Did you mean 'wandb'"):
        Tracker(tmp_path, also=("wand",))
