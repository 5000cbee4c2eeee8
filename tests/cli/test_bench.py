"""weightatlas bench."""

import json

import pytest

from weightatlas.cli import main
from weightatlas.evaluate.protocols import registry
from weightatlas.evaluate.protocols.registry import benches, cards
from weightatlas.results import Record

ABOUT = {"bench": "fake", "tier": "smoke", "metric": "m"}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """A bench that only notes how it was called."""
    calls: list[dict] = []

    def run(**options: object) -> list[Record]:
        calls.append(options)
        ours = Record.build({**ABOUT, "zoo": "z", "method": "a", "value": 1.0, "seeds": (0,)})
        trivial = ours.replace(method="b", kind="baseline")
        paper = ours.replace(method="c", kind="published", zoo="elsewhere", seeds=())
        return [ours, trivial, paper]

    monkeypatch.setitem(benches._entries, "fake", run)
    monkeypatch.setitem(cards, "fake", registry.Card("nothing", "z", {"smoke": 0.1}, ("m",)))
    return calls


def test_prints_ours_beside_baselines_and_published_apart(fake, tmp_path, capsys):
    words = ["--out", str(tmp_path / "r.json"), "--seeds", "2", "--set", "passes=3"]
    assert main(["bench", "fake", *words]) == 0
    assert fake == [{"tier": "smoke", "out": tmp_path / "r.json", "seeds": (0, 1), "passes": 3}]
    printed = capsys.readouterr().out
    own, _, published = printed.partition("Published")
    assert "b (baseline)" in own
    assert "c (published)" in published
    assert "c (published)" not in own


def test_json_is_the_flat_list_of_records(fake, capsys):
    assert main(["bench", "fake", "--json"]) == 0
    assert [row["method"] for row in json.loads(capsys.readouterr().out)] == ["a", "b", "c"]


def test_a_dry_run_tells_the_time_and_runs_nothing(fake, capsys):
    assert main(["bench", "fake", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["minutes on two cores, three seeds"] == 0.1
    assert not fake
    assert main(["bench", "losses", "--tier", "paper", "--dry-run"]) == 0
    assert "not measured" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "word"), [("losses", "pases=1"), ("rebuild", "passes=1"), ("gap", "passes=x")]
)
def test_a_dry_run_refuses_the_settings_that_a_run_would_refuse(name, word, capsys):
    assert main(["bench", name, "--dry-run", "--set", word]) == 1
    assert word.partition("=")[0] in capsys.readouterr().err
    assert main(["bench", "same_zoo", "--dry-run", "--set", "methods=sne"]) == 0


def test_wrong_usage(fake, capsys):
    assert main(["bench", "lossess"]) == 2
    assert "Did you mean 'losses'?" in capsys.readouterr().err
    assert main(["bench", "fake", "--seeds", "0"]) == 2
    with pytest.raises(SystemExit) as raised:
        main(["bench", "fake", "--tier", "huge"])
    assert raised.value.code == 2
    assert not fake
