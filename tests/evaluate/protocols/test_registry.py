"""Units are measured once, written at once, and stand beside what is published."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols import benches, cards, registry
from weightatlas.evaluate.protocols.losses import LossesConfig
from weightatlas.evaluate.protocols.registry import Unit, check_settings, run_units, settings_of
from weightatlas.results import Record, load_records


class Counter:
    """Makes units that count how often they are run."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, int]] = []

    def unit(self, method: str, seed: int, fails: bool = False) -> Unit:
        def work(_: object) -> list[Record]:
            if fails:
                raise KeyboardInterrupt
            self.runs.append((method, seed))
            return [record(method, seed)]

        return Unit(method, seed, work)


def record(method: str, seed: int, **changes: object) -> Record:
    about = {"bench": "b", "tier": "smoke", "zoo": "digits", "method": method, "metric": "m", "value": 1.0}
    return Record.build({**about, "seeds": (seed,), **changes})


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Zoos that were opened; opening costs nothing here."""
    names: list[str] = []

    def open_stage(recipe: str, tier: str, cache: Path) -> SimpleNamespace:
        names.append(recipe)
        return SimpleNamespace(tier=tier, cache=cache)

    monkeypatch.setattr(registry, "stage", open_stage)
    return names


def test_what_is_recorded_is_not_measured_again(tmp_path, opened):
    counter, out = Counter(), tmp_path / "r.json"
    units = [counter.unit("one", 0), counter.unit("two", 0)]
    first = run_units("b", "smoke", out, "digits", units)
    again = run_units("b", "smoke", out, "digits", units)
    assert counter.runs == [("one", 0), ("two", 0)]
    assert opened == ["digits"]  # the second run does not even open the zoo
    assert again == first
    run_units("b", "smoke", out, "digits", [*units, counter.unit("one", 1)])
    assert counter.runs[2:] == [("one", 1)]
    run_units("other", "smoke", out, "digits", units)
    assert len(counter.runs) == 5


def test_an_interrupted_bench_keeps_what_it_has(tmp_path, opened):
    counter, out = Counter(), tmp_path / "r.json"
    with pytest.raises(KeyboardInterrupt):
        run_units("b", "smoke", out, "digits", [counter.unit("one", 0), counter.unit("two", 0, fails=True)])
    assert [r.method for r in load_records(out)] == ["one"]
    run_units("b", "smoke", out, "digits", [counter.unit("one", 0), counter.unit("two", 0)])
    assert counter.runs == [("one", 0), ("two", 0)]


def test_records_say_what_they_cost_and_where(tmp_path, opened):
    (found,) = run_units("b", "smoke", tmp_path / "r.json", "digits", [Counter().unit("one", 0)])
    assert found.seconds is not None
    assert found.peak_mb
    assert found.hardware
    assert found.command == "weightatlas bench b --tier smoke"


def test_published_numbers_come_last_and_are_never_measured(tmp_path, opened):
    paper = record("paper", 0, kind="published", zoo="elsewhere", seeds=())
    out = tmp_path / "r.json"
    for _ in range(2):
        found = run_units("b", "smoke", out, "digits", [Counter().unit("one", 0)], [paper])
        assert [r.method for r in found] == ["one", "paper"]
    assert len(load_records(out)) == 2


def test_other_tiers_and_zoos_are_left_out(tmp_path, opened):
    out = tmp_path / "r.json"
    registry.append_records(out, [record("one", 0, tier="laptop"), record("one", 0, zoo="other")])
    counter = Counter()
    found = run_units("b", "smoke", out, "digits", [counter.unit("one", 0)])
    assert counter.runs == [("one", 0)]
    assert [(r.tier, r.zoo) for r in found] == [("smoke", "digits")]


def test_settings_come_from_the_tier_and_the_caller():
    assert settings_of("losses", "laptop", LossesConfig, {}).passes > 1
    assert settings_of("losses", "laptop", LossesConfig, {"passes": 1}).passes == 1
    with pytest.raises(ConfigError, match="no tier 'huge'"):
        settings_of("losses", "huge", LossesConfig, {})
    with pytest.raises(ConfigError, match="did you mean 'passes'"):
        settings_of("losses", "smoke", LossesConfig, {"pases": 1})


def test_every_bench_has_a_card_with_all_tiers():
    for name in benches.names():
        assert set(cards[name].minutes) >= {"smoke", "laptop", "paper"}
        assert cards[name].columns
        assert benches.get(name).__doc__


def test_settings_of_every_bench_are_checked_without_running_it():
    for name in benches.names():
        for tier in ("smoke", "laptop", "paper"):
            check_settings(name, tier, {})
        with pytest.raises(ConfigError, match="nonsense"):
            check_settings(name, "smoke", {"nonsense": 1})


def test_a_record_says_by_which_settings_it_was_measured(tmp_path, opened, monkeypatch, caplog):
    counter = Counter()
    monkeypatch.setattr(benches, "_entries", {})

    @benches.register("b")
    def bench(tier: str, out: Path, seeds: tuple[int, ...] = (0,), **changes: object) -> list[Record]:
        return run_units("b", tier, out, "digits", [counter.unit("one", seed) for seed in seeds])

    call, out = benches.get("b"), tmp_path / "r.json"
    (found,) = call(tier="smoke", out=out, passes=1, rows=["CS", "SB"])
    assert found.command == """weightatlas bench b --tier smoke --set passes=1 'rows=["CS", "SB"]'"""
    call(tier="smoke", out=out, passes=1, rows=["CS", "SB"])
    assert not caplog.records
    call(tier="smoke", out=out)
    assert counter.runs == [("one", 0)]
    assert "--set passes=1" in caplog.text  # told, since the numbers are those of other settings
    assert "one" in caplog.text


def test_a_bench_without_settings_says_so(monkeypatch):
    monkeypatch.setattr(benches, "_entries", {})

    @benches.register("b")
    def bench(tier: str, out: Path) -> list[Record]:
        return []

    with pytest.raises(ConfigError, match="The bench 'b' has no setting 'passes'"):
        benches.get("b")(tier="smoke", out=Path("r.json"), passes=1)
