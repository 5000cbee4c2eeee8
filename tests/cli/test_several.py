"""The command in several processes: one of them speaks, one writes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from weightatlas.cli import main
from weightatlas.processes import environment, free_port


def test_only_fit_shares_its_work(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert main(["zoo", "info", "z"]) == 1
    assert "Only 'fit' shares its work between processes, 'zoo info' does not." in capsys.readouterr().err
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert main(["zoo", "info", "z"]) == 1
    assert main(["fit", "sana"]) == 1
    shown = capsys.readouterr()
    assert shown.out == shown.err == ""


def test_what_several_processes_cannot_do_is_wrong(zoo: Path, tmp_path: Path, capsys) -> None:
    words = ["fit", "sane", "--zoo", str(zoo), "--out", str(tmp_path / "r"), "--steps", "1"]
    assert main([*words, "--processes", "0"]) == 1
    assert "--processes 0 trains nothing" in capsys.readouterr().err
    assert main([*words, "--processes", "2", "--executor", "processes"]) == 1
    assert "--executor processes runs side by side" in capsys.readouterr().err


def test_processes_are_started_with_the_same_words(zoo: Path, tmp_path: Path, monkeypatch) -> None:
    started = []
    monkeypatch.setattr("weightatlas.processes.launch", lambda *arguments: started.append(arguments) or 7)
    words = ["sane", "--zoo", str(zoo), "--out", str(tmp_path / "r"), "--steps", "1", "--processes", "3"]
    assert main(["fit", *words]) == 7
    command, count, _ = started[0]
    assert command[-len(words) :] == words
    assert count == 3
    assert not (tmp_path / "r").exists()


def test_two_processes_print_and_write_once(zoo: Path, tmp_path: Path) -> None:
    words = ["--zoo", str(zoo), "--out", str(tmp_path / "r"), "--steps", "2", "--batch", "4", "--json"]
    small = ["--dim", "8", "--layers", "1", "--heads", "2", "--loss.beta", "1.0", "--loss.gamma", "0.0"]
    command = [sys.executable, "-m", "weightatlas", "fit", "sane", *words, *small]
    port, pipe = free_port(), subprocess.PIPE
    pair = [
        subprocess.Popen(command, env=environment(rank, 2, port, 2), stdout=pipe, stderr=pipe)
        for rank in range(2)
    ]
    (first, noise), (second, silence) = (process.communicate(timeout=120) for process in pair)
    assert [process.returncode for process in pair] == [0, 0], noise.decode() + silence.decode()
    assert json.loads(first)["steps"] == 2
    assert second == silence == b""
    assert len((tmp_path / "r" / "metrics.jsonl").read_text().splitlines()) == 1
