"""`bench netspace_ladder`: every row with every number, unseen architectures really unseen."""

import math

import pytest

from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols import netspace_ladder as module
from weightatlas.evaluate.protocols.netspace_ladder import ALL, COLUMNS, PLAIN, UNSEEN, netspace_ladder


@pytest.fixture(scope="module")
def records(netspace_cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("records") / "r.json"
    seen, original = {}, module.fit_space

    def watched(encoder, data, config, folder, **parts):
        seen[len(seen)] = (data, config)
        return original(encoder, data, config, folder, **parts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "fit_space", watched)
        found = netspace_ladder("smoke", out, (0,), netspace_cache)
    drawn = (out.with_name("r-space.svg")).read_text()
    assert ALL in drawn
    assert "ladder, step 3" in drawn
    return seen, found


def test_every_row_has_every_number(records) -> None:
    _, found = records
    named = {(r.method, r.metric): r for r in found}
    for row in (ALL, UNSEEN, PLAIN):
        assert all(named[row, metric].kind == "ours" for metric in COLUMNS)
        for name in ("class accuracy", "class between", "class order", "worst on path"):
            assert 0 <= named[row, name].value <= 1
    assert named["best training network", "accuracy gap"].kind == "baseline"
    assert all(math.isfinite(r.value) for r in found)


def test_rows_differ_in_what_they_are_trained_on(records) -> None:
    seen, _ = records
    (every, first), (ends, second), (plain, third) = seen.values()
    assert [len(group) for group in every] == [6, 6, 6, 6]
    assert [group.spec.params for group in ends] == [1250, 11338]
    assert len(plain.groups) == 4
    assert (first.space.ladder, second.space.ladder, third.space.ladder) == (1.0, 1.0, 0.0)
    assert first.steps == second.steps == third.steps
    assert (first.forced, third.forced) == (2, 0)


def test_unknown_rows_are_refused(netspace_cache, tmp_path) -> None:
    with pytest.raises(ConfigError, match="no row 'some'"):
        netspace_ladder("smoke", tmp_path / "r.json", (0,), netspace_cache, rows=("some",))


def test_every_architecture_needs_a_count(netspace_cache, tmp_path) -> None:
    with pytest.raises(ConfigError, match="counts must name 4 numbers"):
        netspace_ladder("smoke", tmp_path / "r.json", (0,), netspace_cache, counts=(6, 6))


def test_another_teacher_has_trainings_of_its_own(netspace_cache, tmp_path) -> None:
    """Even after the same bench with three teachers in the same cache."""
    for teachers in (3, 1):
        changes = {"teachers": teachers, "rows": (PLAIN,), "positions": 3}
        found = netspace_ladder("smoke", tmp_path / f"{teachers}.json", (0,), netspace_cache, **changes)
        assert {r.method for r in found} == {PLAIN, "best training network"}
