"""Windows with halo cover any length exactly once."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weightatlas.errors import ConfigError
from weightatlas.weights.chunks import cut, join, windows


@given(tokens=st.integers(1, 40), size=st.integers(1, 15), halo=st.integers(0, 9))
def test_join_inverts_cut_for_every_length(tokens: int, size: int, halo: int) -> None:
    values = torch.randn(2, tokens, 3)
    plan = windows(tokens, size, halo)
    pieces = cut(values, plan)
    assert pieces.shape[2] == min(tokens, size + 2 * halo)
    assert torch.equal(join(pieces, plan), values)


def test_context_is_really_read() -> None:
    plan = windows(tokens=12, size=4, halo=2)
    assert plan.index[1].tolist() == [2, 3, 4, 5, 6, 7, 8, 9]
    assert plan.place[4].item() == 2


@pytest.mark.parametrize("wrong", [(0, 1, 0), (3, 0, 0), (3, 1, -1)])
def test_impossible_windows_are_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match="Windows need"):
        windows(*wrong)
