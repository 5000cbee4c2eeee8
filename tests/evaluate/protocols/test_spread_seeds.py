"""Seeds side by side give the records of seeds one after the other."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.elsewhere import Elsewhere
from weightatlas.evaluate.protocols.registry import benches
from weightatlas.evaluate.protocols.spread_seeds import SeedJob, run_seed, spread_seeds
from weightatlas.executors import SerialExecutor
from weightatlas.results import Record, append_records, finished, load_records

CALLS: list[tuple[str, int]] = []


def fake(tier: str, out: str | Path, seeds: Sequence[int], factor: float = 1.0) -> list[Record]:
    for seed in seeds:
        if finished(out, "fake", tier, "z", "m", seed):
            continue
        CALLS.append((Path(out).name, seed))
        facts = {"bench": "fake", "tier": tier, "zoo": "z", "method": "m", "metric": "R2"}
        append_records(out, [Record(**facts, value=factor * seed, seeds=(seed,))])
    return load_records(out)


class Backwards(SerialExecutor):
    def map(self, fn: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        return super().map(fn, list(tasks)[::-1])


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    CALLS.clear()
    monkeypatch.setitem(benches._entries, "fake", fake)


def test_equal_to_one_after_the_other(tmp_path: Path) -> None:
    spread_seeds("fake", "smoke", tmp_path / "r.json", 3, {"factor": 2.0}, Backwards())
    found = fake("smoke", tmp_path / "r.json", (0, 1, 2), factor=2.0)
    assert sorted((r.seeds, r.value) for r in found) == [((0,), 0.0), ((1,), 2.0), ((2,), 4.0)]
    assert CALLS == [("r.json", 0), ("r.seed2.json", 2), ("r.seed1.json", 1)]
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_workers_in_another_folder_write_beside_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spread_seeds("fake", "smoke", Path("runs/r.json"), 2, {}, Elsewhere(tmp_path / "other"))
    assert [r.seeds for r in load_records("runs/r.json")] == [(0,), (1,)]
    assert not list((tmp_path / "other").iterdir())


def test_what_a_bench_measures_once_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods without chance run with the first seed alone, as in `bench cross_dataset`."""

    def once(tier: str, out: str | Path, seeds: Sequence[int]) -> list[Record]:
        fake(tier, out, seeds)
        if not finished(out, "once", tier, "z", "floor", seeds[0]):
            facts = {"bench": "once", "tier": tier, "zoo": "z", "method": "floor", "metric": "R2"}
            append_records(out, [Record(**facts, value=1.0, seeds=(seeds[0],))])
        return load_records(out)

    monkeypatch.setitem(benches._entries, "once", once)
    spread_seeds("once", "smoke", tmp_path / "r.json", 3, {}, SerialExecutor())
    found = load_records(tmp_path / "r.json")
    assert [r.seeds for r in found if r.method == "floor"] == [(0,)]
    assert sorted(r.seeds for r in found if r.method == "m") == [(0,), (1,), (2,)]


def test_an_interrupted_call_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    fake("smoke", out, (0, 2))
    run_seed(SeedJob("fake", "smoke", out, 1, {}))  # its driver died before joining
    assert len(load_records(out)) == 2
    CALLS.clear()
    spread_seeds("fake", "smoke", out, 3, {}, SerialExecutor())
    assert CALLS == []
    assert len(load_records(out)) == 3
