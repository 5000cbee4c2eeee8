"""Relatives are told from strangers without knowing which units may be renumbered."""

import pytest
import torch

from tests.relate.small import drifted, networks
from weightatlas.relate.tensorwise import tensor_evidence
from weightatlas.weights.infer import infer


def recurrent(seed=0):
    torch.manual_seed(seed)
    return torch.nn.ModuleDict({"lstm": torch.nn.LSTM(6, 16), "out": torch.nn.Linear(16, 3)})


def residual(seed=0):
    torch.manual_seed(seed)
    layers = {f"block{i}": torch.nn.Linear(24, 24) for i in range(4)}
    return torch.nn.ModuleDict({"stem": torch.nn.Linear(3, 24), **layers, "head": torch.nn.Linear(24, 10)})


MAKERS = {"recurrent": recurrent, "residual": residual}


def rows(make, count):
    states = [make(seed).state_dict() for seed in range(count)]
    return torch.stack([torch.cat([t.flatten() for t in s.values()]) for s in states]), infer(states[0]).spec


@pytest.mark.parametrize("name", MAKERS)
def test_relatives_and_strangers_are_told_apart(name):
    values, spec = rows(MAKERS[name], 40)
    kin = torch.stack([drifted(values[0]), values[0].half().float(), values[0] * (values[0].abs() > 0.05)])
    assert (tensor_evidence(kin, values[0], spec).p_value < 1e-6).all()
    strangers = tensor_evidence(values[1:], values[0], spec)
    assert float(strangers.p_value.min()) > 1e-2
    assert strangers.score.abs().max() < 0.3 < tensor_evidence(kin, values[0], spec).score.min()


def test_what_strangers_share_for_a_reason_is_no_kinship():
    """Both axes of an only layer have a meaning, gates have means of their own, tables of sines are fixed."""
    values, spec = rows(lambda seed: torch.nn.Linear(64, 32), 1)
    assert tensor_evidence(drifted(values), values[0], spec).p_value.tolist() == [1.0]
    values, spec = rows(recurrent, 30)
    offsets = dict(zip((t.name for t in spec.tensors), spec.offsets, strict=True))
    gates = torch.randn(4, 6, generator=torch.Generator().manual_seed(3)).repeat_interleave(16, 0).flatten()
    place = offsets["lstm.weight_ih_l0"]
    values[:, place : place + len(gates)] += gates
    assert float(tensor_evidence(values[1:], values[0], spec).p_value.min()) > 1e-2
    values, spec = rows(residual, 30)
    slot = spec.slices["block1.weight"]
    values[:, slot] = torch.arange(24 * 24).float().sin()
    found = tensor_evidence(values[1:], values[0], spec)
    assert float(found.p_value.min()) > 1e-2
    assert 0.1 < float(found.equal.min()) == float(found.equal.max()) < 0.5


def test_a_frozen_half_is_enough():
    values, spec = rows(residual, 2)
    for block in range(3):
        values[1, spec.slices[f"block{block}.weight"]] = values[0, spec.slices[f"block{block}.weight"]]
    assert float(tensor_evidence(values[1:], values[0], spec).p_value) == 0.0


def test_companions_and_chunks_change_nothing(monkeypatch):
    values, spec = rows(residual, 6)
    together = tensor_evidence(values[1:], values[0], spec)
    monkeypatch.setattr("weightatlas.relate.tensorwise._CHUNK", 1)
    apart = tensor_evidence(values[1:], values[0], spec)
    torch.testing.assert_close(together.p_value, apart.p_value)
    assert len(tensor_evidence(values[:0], values[0], spec).p_value) == 0


def test_a_renumbering_of_tied_units_is_the_null_hypothesis():
    """All layers of a residual stream are renumbered at once: scores are halved because of such ties."""
    values, spec = rows(residual, 1)
    generator = torch.Generator().manual_seed(0)
    moved = []
    for _ in range(300):
        order = torch.randperm(24, generator=generator)
        own = drifted(values[0]).clone()
        for tensor in spec.tensors:
            block = own[spec.slices[tensor.name]].view(tensor.shape)
            if tensor.name != "head.weight" and tensor.name != "head.bias":
                block = block[order]
            if tensor.name not in ("stem.weight",) and block.ndim == 2:
                block = block[:, order]
            own[spec.slices[tensor.name]] = block.flatten()
        moved.append(own)
    p = tensor_evidence(torch.stack(moved), values[0], spec).p_value
    assert float((p < 0.01).double().mean()) <= 0.01


def test_networks_of_the_suite_are_strangers():
    from tests.relate.small import mlp

    values = networks(mlp(), 30)
    assert float(tensor_evidence(values[1:], values[0], mlp()).p_value.min()) > 1e-3
