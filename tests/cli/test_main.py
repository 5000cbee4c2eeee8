"""Dispatch: verbs, help, exit codes, errors without tracebacks."""

import importlib
import inspect
import os
import subprocess
import sys

import pytest

from weightatlas import __version__
from weightatlas.cli import main
from weightatlas.cli import main as command
from weightatlas.cli.main import VERBS, find, overview
from weightatlas.errors import SpecError

MAIN = importlib.import_module("weightatlas.cli.main")


def shell(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "weightatlas", *words], capture_output=True, text=True, timeout=60
    )


def test_help_starts_with_an_example_and_lists_every_verb(capsys):
    assert command(["--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Example:\n  weightatlas ")
    assert all(f"\n  {name} " in text for name in VERBS)


def test_no_verb_is_wrong_usage(capsys):
    assert main([]) == 2
    assert "Verbs:" in capsys.readouterr().out


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_explains_itself_in_a_shell(name):
    done = shell(*name.split(), "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Example:\n  weightatlas {name}")
    assert f"usage: weightatlas {name}" in done.stdout


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_explains_each_of_its_arguments(name):
    verb = VERBS[name]
    function = getattr(importlib.import_module(f"weightatlas.cli.{verb.module}"), verb.function)
    text = inspect.getdoc(function) or ""
    arguments = text.split("Args:\n", 1)[1]
    assert all(f"{argument}: " in arguments for argument in inspect.signature(function).parameters)


def test_help_does_not_load_torch():
    code = "import sys; from weightatlas.cli import main; main(['--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("False\n")


@pytest.mark.parametrize(
    ("words", "hint"), [(["reprot"], "'report'"), (["zoo", "inf"], "'zoo info'"), (["zo"], "'zoo'")]
)
def test_an_unknown_verb_suggests_the_nearest(words, hint, capsys):
    assert main(words) == 2
    assert f"Did you mean {hint}?" in capsys.readouterr().err


def test_a_family_lists_its_verbs(capsys):
    assert main(["zoo", "--help"]) == 0
    assert "zoo populate" in capsys.readouterr().out
    assert main(["zoo"]) == 2


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"weightatlas {__version__}\n"


def test_unknown_flags_are_wrong_usage(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["report", "somewhere", "--outt", "x"])
    assert caught.value.code == 2


def test_a_named_error_is_three_lines_without_traceback(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 1
    text = capsys.readouterr().err
    assert text.startswith(f"RunError: {tmp_path} is not a run.\n")
    assert len(text.splitlines()) == 3
    assert "Traceback" not in text


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_debug_shows_the_traceback(tmp_path, monkeypatch, how):
    if how == "variable":
        monkeypatch.setenv("WEIGHTATLAS_DEBUG", "1")
    with pytest.raises(Exception, match="is not a run"):
        main(["report", str(tmp_path), *(["--debug"] if how == "flag" else [])])


@pytest.mark.parametrize(
    ("raised", "code", "text"),
    [
        (KeyboardInterrupt(), 130, "Interrupted. Run the same command to continue."),
        (SpecError("'a' is missing", where="In b."), 1, "SpecError: 'a' is missing\n  In b."),
    ],
)
def test_exit_codes(monkeypatch, capsys, raised, code, text):
    report = importlib.import_module("weightatlas.report")

    def refuse(_run: object) -> None:
        raise raised

    monkeypatch.setattr(report, "of_run", refuse)
    assert main(["report", "somewhere"]) == code
    assert text in capsys.readouterr().err


def test_bugs_are_not_disguised(monkeypatch):
    report = importlib.import_module("weightatlas.report")
    monkeypatch.setattr(report, "of_run", lambda _run: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["report", "somewhere"])


def test_find_prefers_the_longest_verb():
    assert find(["zoo", "info", "x"]) == "zoo info"
    assert find(["fit", "sane"]) == "fit"
    assert find(["zoo"]) is None
    assert "Exit codes" in overview()


def test_the_budget_reaches_the_library(zoo, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("WEIGHTATLAS_MEMORY_MB", "1")
    assert main(["zoo", "info", str(zoo), "--memory-budget", "300", "--json"]) == 0
    assert os.environ["WEIGHTATLAS_MEMORY_MB"] == "300"
    assert main(["zoo", "info", str(zoo), "--memory-budget=200"]) == 0
    assert os.environ["WEIGHTATLAS_MEMORY_MB"] == "200"
    out = str(zoo.parent / "refused")
    words = ["zoo", "populate", "digits", "--tier", "smoke", "--out", out, "--memory-budget", "lots"]
    assert main(words) == 1
    assert "The memory budget 'lots' is no number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("zoo export {zoo} {zoo}", "is a zoo, not a folder for plain checkpoints"),
        ("zoo export {zoo} {out} --where lr=99", "No network of"),
        ("zoo verify {zoo} --sample -3", "--sample: at least none"),
        ("embed {run} {zoo} --out {out}/e.txt", ".safetensors, not '.txt'"),
        ("search {zoo} --like {zoo}:0 --top 0", "--top: at least one"),
        ("inspect", "Name checkpoint files"),
        ("fit pca --zoo {zoo} --out {out} --latent 0", "--latent: Input should be greater"),
        ("fit activation --zoo {zoo} --out {out} --ratio 0", "--ratio: Input should be greater"),
        ("zoo populate digits --tier smoke --out {out} --device tpu", "There is no device 'tpu'"),
        (
            "zoo populate primitives --out {out} --executor processes",
            "--executor: the networks of 'primitives'",
        ),
        ("zoo import {zoo} --out {out} --limit 3", "--limit: folders of plain checkpoints are read whole"),
        ("zoo import {zoo} --out {out} --set classes=3", "--set: options of which network?"),
        (
            "zoo import {zoo} --out {out} --format unterthiner --task digits",
            "--task: the zoo's own are taken from a folder of the format 'unterthiner'",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(words, said, zoo, run, tmp_path, capsys):
    before = sorted(path.name for path in zoo.iterdir())
    out = tmp_path / "out"
    assert main(words.format(zoo=zoo, run=run, out=out).split()) in (1, 2)
    assert said in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
    assert sorted(path.name for path in zoo.iterdir()) == before


def test_a_folder_that_is_no_zoo_is_named_once(tmp_path, capsys):
    assert main(["zoo", "verify", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("is not a zoo") == 1
