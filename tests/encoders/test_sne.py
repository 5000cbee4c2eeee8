"""SNE: sizes of the paper, laws of invariance with negative controls, masks, mixed batches."""

from functools import lru_cache

import pytest
import torch
from torch import Tensor

from tests.weights.architectures import ARCHITECTURES, build
from weightatlas.encoders.base import Encoder
from weightatlas.encoders.heads import HeadConfig, PropertyHead
from weightatlas.encoders.io import create_encoder
from weightatlas.errors import ConfigError
from weightatlas.fit.presets import preset
from weightatlas.networks import create_network
from weightatlas.symmetry.permutation import permute, sample
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import Batch, Weights, batch_of, weights_of
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.trace import trace

SMALL = {"dim": 8, "heads": 2, "blocks": 1}


@lru_cache
def spec(name: str) -> NetworkSpec:
    if name in ARCHITECTURES:
        network, shape, _ = build(name)
        return spec_of(network, shape) if name != "words" else trace(network, shape)
    shapes = {"siren": (1,), "cnn_unterthiner": (1, 28, 28)}
    options = {"siren": {"coordinates": 1}, "cnn_unterthiner": {"image_size": 28}}
    return spec_of(create_network(name, **options[name]), shapes[name])


def values(name: str, count: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.5 * torch.randn(count, spec(name).params, generator=generator)


def sne(kind: str = "safe", **changes: object) -> Encoder:
    settings = {**preset(f"sne_{kind}").settings, **SMALL, **changes}
    return create_encoder("sne", seed=1, **settings).eval()


def gap(encoder: Encoder, name: str) -> float:
    """Relative change of embeddings under a permutation that keeps the function, in float64."""
    before = weights_of(values(name).double(), spec(name))
    perms = sample(spec(name), len(before), torch.Generator().manual_seed(3))
    after = weights_of(permute(before.values, perms, spec(name)), spec(name))
    return distance(encoder, before, after)


@torch.no_grad()
def distance(encoder: Encoder, first: Weights, second: Weights) -> float:
    encoder = encoder.double()
    one, two = (features(encoder, part) for part in (first, second))
    return float((one - two).abs().max() / one.abs().max())


def features(encoder: Encoder, part: Weights) -> Tensor:
    """Embeddings before they are rounded to float32."""
    found: list[Tensor] = []
    hook = encoder.of_network.register_forward_hook(lambda _m, _i, out: found.append(out))  # type: ignore[union-attr]
    encoder.encode(part)
    hook.remove()  # type: ignore[union-attr]
    return torch.cat(found)


@pytest.mark.parametrize("kind", ["paper", "safe"])
def test_sizes_of_the_paper(kind: str):
    """358K parameters with the INR head: 64 -> 32 -> 512 -> 1."""
    encoder = create_encoder("sne", **preset(f"sne_{kind}").settings)
    head = PropertyHead(64, 1, HeadConfig(code=32, hidden=(512,)))
    count = sum(p.numel() for part in (encoder, head) for p in part.parameters())
    assert count == 339_169
    assert abs(count - 358_000) < 0.1 * 358_000
    one_stack = create_encoder("sne", **{**preset(f"sne_{kind}").settings, "stacks": 1})
    assert sum(p.numel() for p in one_stack.parameters()) < 0.9 * 240_600


@pytest.mark.parametrize("kind", ["safe", "linked"])
@pytest.mark.parametrize("name", ["siren", "cnn_unterthiner", *ARCHITECTURES])
def test_safe_is_exactly_invariant(name: str, kind: str):
    assert gap(sne(kind), name) < 1e-12


@pytest.mark.parametrize("name", ["siren", "cnn_unterthiner", "residual", "attention"])
def test_paper_is_not(name: str):
    assert gap(sne("paper"), name) > 1e-6


@pytest.mark.parametrize("name", ["siren", "cnn_unterthiner", "cnn_flatten"])
def test_safe_still_sees_wrong_permutations(name: str):
    """Inputs, outputs, positions after flattening and kernel taps have names; rows keep their weights."""
    here, encoder = spec(name), sne("safe")
    part = values(name).double()
    before = weights_of(part, here)
    for tensor, axis in ((0, len(here.tensors[0].shape) - 1), (len(here.tensors) - 1, 0)):
        shape, where = here.tensors[tensor].shape, here.slices[here.tensors[tensor].name]
        if shape[axis] == 1:
            continue
        wrong = part.clone()
        wrong[:, where] = part[:, where].view(-1, *shape).roll(1, axis + 1).flatten(1)
        assert distance(encoder, before, weights_of(wrong, here)) > 1e-6


def test_without_positions_wrong_permutations_are_lost():
    """The negative control: the literal equations identify any order of scalars within a row."""
    bare = {"kernel": False, "io": False}
    encoder, part = sne("safe", positions=bare), values("cnn_unterthiner").double()
    here = spec("cnn_unterthiner")
    where = here.slices["0.weight"]
    wrong = part.clone()
    wrong[:, where] = part[:, where].view(-1, 16, 9).roll(1, 2).flatten(1)
    before, after = weights_of(part, here), weights_of(wrong, here)
    assert distance(encoder, before, after) < 1e-12
    assert distance(sne("safe"), before, after) > 1e-6


@pytest.mark.parametrize("kind", ["paper", "safe", "linked"])
def test_mixed_architectures_equal_separate_ones(kind: str):
    names = ["siren", "cnn_unterthiner", "residual", "attention", "cnn_flatten", "grouped", "by_hand"]
    encoder, groups, start = sne(kind), [], 0
    for place, name in enumerate(names):
        part = values(name, 1 + place % 3, place)
        groups.append(Weights(part, spec(name), torch.arange(start, start + len(part))))
        start += len(part)
    whole = encoder.embed(Batch(tuple(groups)))
    alone = [encoder.embed(batch_of(group.values, group.spec)) for group in groups]
    torch.testing.assert_close(whole, torch.cat(alone), rtol=1e-4, atol=1e-5)
    in_parts = encoder.embed(Batch(tuple(groups)), chunk=3)
    torch.testing.assert_close(in_parts, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["paper", "safe", "linked"])
def test_padding_never_matters(kind: str, monkeypatch: pytest.MonkeyPatch):
    """Padding every set to powers of two changes nothing, nor does what stands in padded slots."""
    from weightatlas.encoders import set_packing
    from weightatlas.encoders import sne as sne_module

    encoder, weights = sne(kind), weights_of(values("cnn_unterthiner").double(), spec("cnn_unterthiner"))
    encoder = encoder.double()
    plain = features(encoder, weights)
    monkeypatch.setattr(set_packing, "EXACT", 0)
    torch.testing.assert_close(features(encoder, weights), plain, rtol=1e-10, atol=1e-12)
    pad = torch.nn.functional.pad

    def dirty(x: Tensor, spare: tuple[int, ...]) -> Tensor:
        return pad(x, spare, value=7.0) if x.is_floating_point() else pad(x, spare)

    monkeypatch.setattr(sne_module.F, "pad", dirty)
    torch.testing.assert_close(features(encoder, weights), plain, rtol=1e-10, atol=1e-12)


def test_passes_and_forgotten_activations_change_nothing():
    name = "cnn_unterthiner"
    weights = weights_of(values(name).double(), spec(name))
    gradients = []
    for limits in ({}, {"pass_items": 500}, {"pass_items": 500, "keep_items": 1}):
        encoder = sne("safe", **limits).double()
        features(encoder, weights).square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None]))
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-9, atol=1e-12)


def test_scaling_is_per_kind_and_commutes_with_permutation():
    encoder, name = sne("safe"), "cnn_unterthiner"
    data = values(name, 8)
    data[:, spec(name).slices["0.bias"]] *= 100
    encoder.adapt(batch_of(data, spec(name)))
    spread = dict(zip(("linear", "conv", "bias", "norm_scale"), encoder.spread.tolist(), strict=False))  # type: ignore[union-attr]
    assert spread["conv"] == pytest.approx(0.5, rel=0.1)
    assert spread["bias"] > 10
    assert spread["norm_scale"] == 1
    assert gap(encoder, name) < 1e-12
    assert sne("safe", scale="none").spread.unique().tolist() == [1.0]  # type: ignore[union-attr]


def test_embeddings_of_training_networks_vary_as_much_as_one():
    encoder, name = sne("safe"), "cnn_unterthiner"
    batch = batch_of(values(name, 16), spec(name))
    raw = sne("safe", standardize=False)
    raw.adapt(batch)
    encoder.adapt(batch)
    found = encoder.embed(batch)
    torch.testing.assert_close(found.mean(0), torch.zeros(8), rtol=0, atol=1e-3)
    assert float(found.var(0, correction=0).mean()) == pytest.approx(1, rel=1e-2)
    assert float(raw.embed(batch).var(0).mean()) < 0.1


def test_only_linked_tokens_tell_which_column_belongs_to_which_neuron():
    """Shuffling the columns of one row changes the function; rows alone do not show it, neurons do."""
    here, part = spec("siren"), values("siren").double()
    where = next(here.slices[t.name] for t in here.tensors if t.shape == (32, 32))
    wrong = part.clone()
    shuffled = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    rows = part[:, where].view(-1, 32, 32).clone()
    rows[:, 0] = rows[:, 0, shuffled]
    wrong[:, where] = rows.flatten(1)
    before, after = weights_of(part, here), weights_of(wrong, here)
    assert distance(sne("safe"), before, after) < 1e-12
    assert distance(sne("linked"), before, after) > 1e-6


@pytest.mark.parametrize("form", ["published", "residual", "mean"])
def test_without_hierarchy_a_network_is_the_set_of_its_chunks(form: str):
    """Two tensors of one kind that change places between layers are seen only layer by layer."""
    network = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(3)))
    here = trace(network, (4,))
    values = torch.randn(1, here.params, generator=torch.Generator().manual_seed(2)).double()
    swapped, names = values.clone(), ("0.weight", "1.weight")
    for name, other in (names, names[::-1]):
        swapped[:, here.slices[name]] = values[:, here.slices[other]]
    nothing = dict.fromkeys(("type", "level", "kernel", "io", "within", "chunk"), False)
    before, after = weights_of(values, here), weights_of(swapped, here)
    whole = {"positions": nothing, "form": form, "chunks": {"mode": "row"}}
    assert distance(sne("paper", **whole), before, after) > 1e-6
    assert distance(sne("paper", **whole, hierarchy=False), before, after) < 1e-12
    assert distance(sne("paper", form=form, hierarchy=False), before, after) > 1e-6


def test_networks_of_all_sizes_share_a_unit_after_scaling_by_fan():
    encoder, batch = sne("linked"), batch_of(values("cnn_unterthiner", 8), spec("cnn_unterthiner"))
    encoder.adapt(batch)
    assert encoder.magnitudes is not None
    assert not torch.equal(encoder.magnitudes.size, torch.ones(4))  # type: ignore[union-attr]


def test_many_chunks_are_sampled():
    few = sne("safe", chunks={"mode": "row", "most": 4})
    assert few.embed(batch_of(values("cnn_unterthiner"), spec("cnn_unterthiner"))).shape == (2, 8)


def test_residual_blocks_have_a_token():
    with_token = sne("safe").embed(batch_of(values("residual"), spec("residual")))
    without = sne("safe", positions={"blocks": False}).embed(batch_of(values("residual"), spec("residual")))
    assert not torch.allclose(with_token, without)
    plain = [
        sne("safe", positions={"blocks": flag}).embed(batch_of(values("siren"), spec("siren")))
        for flag in (True, False)
    ]
    assert torch.equal(*plain)


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match="multiple of heads"):
        create_encoder("sne", dim=10, heads=4)
    with pytest.raises(ConfigError, match="need form='residual'"):
        create_encoder("sne", inducing=4)
    with pytest.raises(ConfigError, match="needs a width"):
        create_encoder("sne", chunks={"mode": "flat"})
