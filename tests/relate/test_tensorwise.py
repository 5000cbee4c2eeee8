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


def strange(make, count=8):
    """Smallest p-value of independent networks."""
    values, spec = stacked(make, count)
    return float(tensor_evidence(values[1:], values[0], spec).p_value.min())


def stacked(make, count):
    states = [make(torch.Generator().manual_seed(seed)) for seed in range(count)]
    spec = infer(states[0]).spec
    return torch.stack([torch.cat([s[t.name].flatten() for t in spec.tensors]) for s in states]), spec


def remembering(draw, before=0):
    """A recurrent network whose units keep what they hold; its inputs may stand in one tensor before them."""
    kept = torch.cat([torch.zeros(32, before), 0.8 * torch.eye(32)], 1)
    hidden = kept + 0.1 * torch.randn(32, 32 + before, generator=draw)
    reader = torch.randn(32, 10, generator=draw)
    return {"i2h.weight": reader, "h2h.weight": hidden, "out.weight": torch.randn(9, 32, generator=draw)}


@pytest.mark.parametrize("before", [0, 5])
def test_units_that_remember_are_no_kinship(before):
    """Self-connections stand in the same places of all networks."""
    assert strange(lambda draw: remembering(draw, before)) > 1e-2
    values, spec = stacked(lambda draw: remembering(draw, before), 1)
    assert float(tensor_evidence(drifted(values), values[0], spec).p_value) < 1e-4


def sines(count, width):
    angles = torch.arange(count)[:, None] * 10_000 ** (-2 * torch.arange(width // 2) / width)
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)


TABLES = {"sines": sines(400, 24), "zeros": torch.zeros(400, 24), "identity": torch.eye(400, 24)}


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_everybody_makes_alike_are_no_kinship(name):
    def make(draw):
        drawn = {f"l{i}.weight": torch.randn(24, 24, generator=draw) for i in range(2)}
        return {"places.weight": TABLES[name], **drawn}

    values, spec = stacked(make, 8)
    found = tensor_evidence(values[1:], values[0], spec)
    assert float(found.p_value.min()) > 1e-2
    assert float(found.equal.min()) > 0.8
    copied = {"places.weight": torch.randn(400, 24, generator=torch.Generator().manual_seed(9))}
    values, spec = stacked(lambda draw: make(draw) | copied, 2)
    assert float(tensor_evidence(values[1:], values[0], spec).p_value) == 0.0


def test_fourier_filters_are_no_kinship():
    places = torch.arange(33.0)[:, None] * torch.arange(64) * torch.pi / 32

    def make(draw):
        drawn = {
            "a.weight": torch.randn(16, 20, 3, generator=draw),
            "b.weight": torch.randn(10, 16, generator=draw),
        }
        return {"real.weight": places.cos()[:, None], "imaginary.weight": places.sin()[:, None], **drawn}

    assert strange(make) > 1e-2


def test_maps_between_time_steps_have_no_hidden_units():
    """Both axes of linear forecasters have an order; their solution is the same for all."""
    common = torch.randn(2, 48, 48, generator=torch.Generator().manual_seed(50)).cumsum(1).cumsum(2) / 20

    def make(draw):
        first, second = common + 0.3 * torch.randn(2, 48, 48, generator=draw)
        return {"season.weight": first, "trend.weight": second}

    assert strange(make) > 1e-2


def test_a_linear_path_beside_hidden_layers_is_no_kinship():
    """Its outputs happen to divide the width of a layer that does not read them."""
    common = torch.randn(16, 64, generator=torch.Generator().manual_seed(50))

    def make(draw):
        shapes = {"deep.0.weight": (32, 64), "deep.2.weight": (32, 32), "deep.4.weight": (16, 32)}
        drawn = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
        return {"wide.weight": common + 0.5 * torch.randn(16, 64, generator=draw), **drawn}

    assert strange(make) > 1e-2
