"""Records are flat, replaced when repeated, and joined over seeds."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from weightatlas import results
from weightatlas.errors import ConfigError, FileError
from weightatlas.results import Record, append_records, finished, load_records, summarize


def record(**changes: object) -> Record:
    base = {
        "bench": "losses",
        "tier": "smoke",
        "zoo": "digits",
        "method": "CSB",
        "metric": "R2",
        "value": 0.5,
    }
    return Record.build({**base, "seeds": (0,), **changes})


def test_append_and_load_are_inverse(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    first = [record(), record(metric="MAE", value=0.1), record(kind="baseline", versions={"torch": "2"})]
    append_records(path, first)
    assert load_records(path) == first
    assert isinstance(json.loads(path.read_text()), list)


def test_a_repeated_measurement_replaces_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    append_records(path, [record(), record(seeds=(1,))])
    held = append_records(path, [record(value=0.9)])
    assert [r.value for r in held] == [0.9, 0.5]
    assert load_records(path) == held


def test_rows_that_differ_in_one_field_of_the_measurement_stand_side_by_side(tmp_path: Path) -> None:
    others = {"bench": "b", "tier": "laptop", "zoo": "z", "method": "m", "metric": "MAE", "kind": "baseline"}
    changed = [
        record(**{name: value}) for name, value in {**others, "seeds": (1,), "split": "network"}.items()
    ]
    assert len(append_records(tmp_path / "results.json", [record(), *changed])) == 1 + len(changed)
    assert len(append_records(tmp_path / "results.json", [record(value=0.9, n=3, seconds=1.0)])) == 1 + len(
        changed
    )


def test_rows_written_before_splits_were_named_are_by_lineage(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    append_records(path, [record()])
    rows = [
        {key: value for key, value in row.items() if key != "split"} for row in json.loads(path.read_text())
    ]
    path.write_text(json.dumps(rows))
    assert [r.value for r in append_records(path, [record(value=0.9)])] == [0.9]


def test_finished_looks_at_method_zoo_and_seed(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    assert not finished(path, "losses", "smoke", "digits", "CSB", 0)
    append_records(path, [record(), record(method="CS", seeds=(0, 1))])
    assert finished(path, "losses", "smoke", "digits", "CSB", 0)
    for other in (("CSB", 1), ("CS", 0), ("B", 0)):
        assert not finished(path, "losses", "smoke", "digits", *other)


def test_summary_averages_seeds_but_not_methods_kinds_or_published_numbers() -> None:
    rows = [record(value=1.0), record(value=2.0, seeds=(1,)), record(value=6.0, seeds=(2,))]
    rows += [record(kind="baseline", value=9.0), record(kind="published", value=0.7, seeds=())]
    joined = summarize(rows)
    assert [r.value for r in joined] == [3.0, 9.0, 0.7]
    assert joined[0].spread == pytest.approx(7.0**0.5)
    assert joined[0].seeds == (0, 1, 2)
    assert joined[1].spread is None


def test_numbers_without_seeds_and_means_stand_beside_those_of_seeds() -> None:
    rows = [record(value=9.0, seeds=()), record(value=1.0), record(value=2.0, seeds=(1,))]
    joined = summarize([*rows, record(value=5.0, seeds=(0, 1, 2))])
    assert [(r.value, r.seeds) for r in joined] == [(9.0, ()), (1.5, (0, 1)), (5.0, (0, 1, 2))]


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text('[{"bench": "b"')
    with pytest.raises(FileError, match=r"results\.json"):
        load_records(path)
    path.write_text('{"bench": "b"}')
    with pytest.raises(FileError, match="not a list"):
        load_records(path)
    path.write_text('[{"bench": "b"}]')
    with pytest.raises(ConfigError, match="'tier' is required"):
        load_records(path)


def test_numbers_must_be_finite() -> None:
    with pytest.raises(ValidationError):
        Record(bench="b", tier="t", zoo="z", method="m", metric="R2", value=float("nan"))


def test_stamp_fills_only_what_is_missing() -> None:
    done = results.stamped([record(), record(hardware="abacus")], command="weightatlas bench losses")
    assert done[0].hardware.endswith("cores") or "," in done[0].hardware
    assert done[1].hardware == "abacus"
    assert done[0].versions["torch"]
    assert done[0].command == "weightatlas bench losses"
    assert (done[0].peak_mb or 0) > 10
    paper = results.stamped([record(kind="published"), record(peak_mb=3.0)])
    assert [row.peak_mb for row in paper] == [None, 3.0]


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peaks are counted anew on Linux alone"
)
def test_a_new_peak_forgets_what_was_held_before() -> None:
    held = bytearray(64 * 2**20)
    before = results.peak_mb()
    del held
    results.new_peak()
    assert results.peak_mb() < before - 32


def test_a_refusal_has_a_reason_in_place_of_a_number_and_goes_when_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    about = {"bench": "losses", "tier": "smoke", "zoo": "digits", "method": "mlp", "seeds": (0,)}
    refused = results.refusal("too wide", **about)
    append_records(path, [refused])
    (row,) = json.loads(path.read_text())
    assert (row["value"], row["note"]) == (None, "too wide")
    assert load_records(path) == [refused]
    assert finished(path, "losses", "smoke", "digits", "mlp", 0) == [refused]
    again = results.refusal("too wide", **{**about, "seeds": (1,)})
    (joined,) = summarize([refused, again])
    assert (joined.seeds, joined.note) == ((0, 1), "too wide")
    assert [r.metric for r in append_records(path, [record(method="mlp")])] == ["R2"]
    assert "note" not in json.loads(path.read_text())[0]
    with pytest.raises(ConfigError, match="say in `note`"):
        record(value=None)
    with pytest.raises(ConfigError, match="needs no note"):
        record(note="why")
