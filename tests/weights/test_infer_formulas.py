"""Positions and times that are computed: what they touch is never called certain."""

import pytest

from tests.weights.named_formulas import SineEncoder, StoredPositions, TimedConvs
from weightatlas.symmetry.verify import verify
from weightatlas.weights.infer import infer


@pytest.mark.parametrize(
    ("make", "groups"), [(SineEncoder, (24, 24)), (TimedConvs, (40,)), (StoredPositions, (16, 24, 24))]
)
def test_certain_groups_hold_although_formulas_write_values(make, groups):
    network = make()
    found = infer(network.state_dict()).spec
    _, report = verify(network, found, network.shape)
    assert not report.failed
    assert found.groups == groups


def test_the_reason_is_said():
    said = infer(SineEncoder().state_dict()).explain("likely")
    assert "width 16 stays fixed (group, likely): no tensor holds positions: a formula may add them" in said


def test_attention_that_turns_its_queries_needs_no_positions():
    names = {"block.attn.q_proj": 8, "block.attn.k_proj": 8, "block.attn.v_proj": 8, "block.attn.o_proj": 8}
    shapes = {"embed.weight": (9, 8), "head.weight": (9, 8)}
    shapes |= {f"{name}.weight": (size, 8) for name, size in names.items()}
    assert infer(shapes).spec.groups == ()
    assert infer({**shapes, "block.attn.rotary_emb.inv_freq": (2,)}).spec.groups == (8,)
