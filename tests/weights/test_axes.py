"""Symbols and runs: unification keeps lengths and is symmetric in what it forbids."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightatlas.weights.axes import (
    axis_of,
    constant,
    cut,
    fix,
    fresh,
    is_fixed,
    length,
    merge,
    resolve,
    stretch,
    unify,
)  # fmt: skip

cuts = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 4), st.sampled_from(["free", "fixed", "again"])))


def line_of(pieces, size=24):
    """Cut an axis of 24 entries into runs: free, fixed, or repeating an earlier one."""
    found, known = (), []
    for members, positions, kind in (*pieces, (size, 1, "free")):
        left = size - length(found)
        fitting = [line for line in known if length(line) <= left]
        if left == 0:
            break
        if kind == "again" and fitting:
            found += fitting[-1]
            continue
        positions = min(positions, left)
        piece = stretch(fresh(min(members, left // positions)), positions)
        if kind == "fixed":
            fix(piece)
        known.append(piece)
        found += piece
    return found


@settings(max_examples=200, deadline=None)
@given(cuts, cuts)
def test_unified_axes_are_equal_where_they_are_free(first, second):
    first, second = line_of(first), line_of(second)
    unify(first, second)
    groups: dict = {}
    for run in (*resolve(first), *resolve(second)):
        if not run.symbol.fixed:
            groups.setdefault(run.symbol, len(groups))
    assert length(first) == length(second) == 24
    assert axis_of(first, groups) == axis_of(second, groups)


def test_a_flattened_axis_meets_neurons():
    channels, neurons = fresh(4), fresh(12)
    unify(neurons, stretch(channels, 3))
    assert [(run.symbol.members, run.positions) for run in resolve(neurons)] == [(4, 3)]


def test_axes_cut_differently_split_their_symbols():
    joined, single = fresh(3) + fresh(5), fresh(8)
    unify(single, joined)
    assert [run.symbol.members for run in resolve(single)] == [3, 5]
    assert not is_fixed(single)


def test_a_fixed_run_fixes_only_its_part():
    single = fresh(8)
    unify(single, constant(2) + fresh(4) + constant(2))
    assert [run.symbol.fixed for run in resolve(single)] == [True, False, True]


def test_axes_that_cannot_agree_are_fixed():
    first, second = stretch(fresh(4), 3), stretch(fresh(6), 2)
    unify(first, second)
    assert is_fixed(first)
    assert is_fixed(second)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="cannot be equal"):
        unify(fresh(3), fresh(4))


def test_merging_keeps_one_freedom():
    tokens, width = constant(3), fresh(4)
    assert [run.symbol for run in merge(tokens, width)] == [width[0].symbol] * 3
    rows, columns = fresh(3), fresh(4)
    assert [run.positions for run in merge(rows, columns)] == [4]
    assert is_fixed(columns)


def test_cutting_splits_members_but_not_their_positions():
    free = fresh(6)
    head, tail = cut(free, 2)
    assert (length(head), length(tail), is_fixed(free)) == (2, 4, False)
    wide = stretch(fresh(2), 3)
    head, tail = cut(wide, 2)
    assert (length(head), length(tail)) == (2, 4)
    assert is_fixed(wide)
