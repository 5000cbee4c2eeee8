"""Names of families, and fingerprints."""

import pytest
from torch import nn

from tests.weights import named
from weightatlas.weights.family import family_of
from weightatlas.weights.infer import infer


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (named.LeNet, "CNN 2 conv + 3 linear"),
        (named.ClassMLP, "MLP 12-32-32-10"),
        (named.ResNet, "ResNet-like 10 conv + 1 linear"),
        (named.PreAct, "ResNet-like 10 conv + 1 linear"),
        (named.UNet, "U-Net-like 13 conv"),
        (named.ViT, "transformer 2 x 16"),
        (named.GPT, "transformer 2 x 12"),
        (named.HFBert, "transformer 2 x 12"),
        (named.TorchTransformer, "transformer 2 x 16"),
        (named.LSTMNet, "recurrent 1 x 16"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_families_have_names(make, name):
    family = family_of(infer(make().state_dict()))
    assert family.name == name
    assert len(family.fingerprint) == 8
    assert family.depth > 0


def test_an_adapter_file_is_a_lora():
    layer = "base_model.model.layers.{}.self_attn.{}.lora_{}.weight"
    shapes = {}
    for i in range(3):
        for part in ("q_proj", "v_proj"):
            shapes |= {layer.format(i, part, "A"): (8, 64), layer.format(i, part, "B"): (64, 8)}
    assert family_of(infer(shapes)).name == "LoRA rank 8 on 6 layers"


def test_equal_names_and_shapes_give_equal_fingerprints():
    first, second = (family_of(infer(named.LeNet().state_dict())) for _ in range(2))
    assert first == second
    other = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert family_of(infer(other.state_dict())).fingerprint != first.fingerprint


def test_stacked_recurrence_and_attention_inside_a_unet_are_told():
    weights = {
        f"lstm.weight_{kind}_l{i}{way}": (48, 12)
        for kind in ("ih", "hh")
        for i in (0, 1)
        for way in ("", "_reverse")
    }
    assert family_of(infer(weights)).name == "recurrent 2 x 12"
    unet = {}
    for side in ("down_blocks", "up_blocks"):
        for i in (0, 1):
            unet |= {f"{side}.{i}.resnets.0.conv{k}.weight": (8, 8, 3, 3) for k in (1, 2)}
            names = ("to_q", "to_k", "to_v", "to_out.0")
            unet |= {f"{side}.{i}.attentions.0.attn1.{name}.weight": (8, 8) for name in names}
    assert family_of(infer(unet)).name == "U-Net-like 8 conv + 4 attention"
