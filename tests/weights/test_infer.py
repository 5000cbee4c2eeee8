"""Specs from names and shapes: what is certain must hold when the network is run."""

import warnings

import pytest
import torch

from tests.weights import named
from weightatlas.errors import SpecError
from weightatlas.networks import create_network, input_shape_of, networks
from weightatlas.symmetry.verify import verify
from weightatlas.weights.infer import infer
from weightatlas.weights.trace import trace


def shuffled(state):
    """The same tensors in the order a safetensors file keeps them."""
    return {name: state[name] for name in sorted(state)}


EXACT = ("cnn3", "cnn_small", "cnn_unterthiner", "lenet5", "mlp", "resnet_small", "resnet8", "siren")


@pytest.mark.parametrize("name", [name for name in networks.names() if name != "resnet56"])
def test_certain_groups_of_registered_networks_hold_when_run(name):
    network = create_network(name)
    found = infer(shuffled(network.state_dict())).spec
    _, report = verify(network, found, input_shape_of(name))
    assert not report.failed


@pytest.mark.parametrize("name", EXACT)
def test_registered_networks_are_inferred_as_they_are_traced(name):
    network = create_network(name)
    traced = trace(network, input_shape_of(name))
    found = infer(shuffled(network.state_dict())).spec
    assert found.tensors == traced.tensors
    assert found.groups == traced.groups
    assert found.layout_id == traced.layout_id
    assert found.function_id is None


@pytest.mark.parametrize("make", named.ALL, ids=[make.__name__ for make in named.ALL])
def test_certain_groups_keep_the_function_of_networks_written_by_hand(make):
    network = make()
    found = infer(shuffled(network.state_dict()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, report = verify(network, found.spec, network.shape)
    assert not report.failed
    assert report.error < 1e-9


@pytest.mark.parametrize(
    ("make", "groups"),
    [
        (named.LeNet, (6, 16, 120, 84)),
        (named.VGG, (8, 16, 16, 24, 24)),
        (named.ResNet, (8, 8, 8, 16, 16, 16)),
        (named.bottleneck_resnet, (8, 4, 4, 16, 4, 4, 8, 8, 32, 8, 8)),
        (named.ActorCritic, (16, 16, 16, 16)),
        (named.NatureDQN, (8, 16, 16, 32)),
        (named.ViT, (16, 64, 64)),
        (named.GPT, (12, 48, 48)),
        (named.Llama, (16, 28, 28)),
        (named.HFBert, (12, 30, 30)),
        (named.LoRANet, (4, 4)),
        (named.Mobile, (8, 16)),
        (named.FlatBN, (4, 20)),
        (named.ClassMLP, (32,)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_known_kinds_of_networks_get_their_groups(make, groups):
    assert infer(make().state_dict()).spec.groups == groups


@pytest.mark.parametrize(
    "make", [named.GLUNet, named.SSD, named.VAE, named.UNet, named.Dense, named.AltNames]
)
def test_what_two_wirings_could_explain_is_fixed_and_said(make):
    found = infer(make().state_dict())
    assert found.spec.groups == ()
    assert "stays fixed" in found.explain("likely") or "fixed" in found.explain("unknown")


def test_the_flatten_boundary_keeps_positions_with_their_channel():
    found = infer(named.LeNet().state_dict())
    weight = next(tensor for tensor in found.spec.tensors if tensor.name == "fc1.weight")
    assert [(s.group, s.members, s.positions) for s in weight.axes[1]] == [(1, 16, 25)]
    boundary = next(guess for guess in found.guesses if guess.kind == "boundary")
    assert boundary.certainty == "certain"
    assert "16 channels × 25 positions" in str(boundary)


def test_the_order_does_not_depend_on_the_file():
    state = named.ResNet().state_dict()
    reverse = dict(reversed(state.items()))
    assert infer(state).spec == infer(reverse).spec
    assert [tensor.name for tensor in infer(reverse).spec.tensors[:3]] == [
        "conv1.weight",
        "bn1.weight",
        "bn1.bias",
    ]


def test_tied_tensors_are_one_tensor_with_two_names():
    found = infer(named.tied_gpt().state_dict()).spec
    first = next(tensor for tensor in found.tensors if tensor.aliases)
    assert (first.name, first.aliases) == ("transformer.wte.weight", ("lm_head.weight",))


def test_every_conclusion_has_a_certainty_and_a_reason():
    guesses = infer(named.HFBert().state_dict()).guesses
    assert all(guess.reason and guess.certainty in ("certain", "likely", "unknown") for guess in guesses)
    assert {guess.kind for guess in guesses} >= {"layer", "group"}
    assert len(set(guesses)) == len(guesses)


def test_a_module_is_traced_instead():
    network = named.LeNet()
    found = infer(network, network.shape)
    assert found.spec == trace(network, network.shape)
    assert found.guesses[0].certainty == "likely"  # Rules alone: not yet checked by running.
    with pytest.raises(SpecError, match="input_shape"):
        infer(network)


def test_nothing_to_describe_is_an_error():
    with pytest.raises(SpecError, match="no floating tensors"):
        infer({"steps": torch.tensor(3)})


def hf_gpt2(width=16, layers=2):
    """Shapes as transformers writes them: linear layers stored as (in, out)."""
    shapes = {
        "wte.weight": (50, width),
        "wpe.weight": (9, width),
        "ln_f.weight": (width,),
        "ln_f.bias": (width,),
    }
    for i in range(layers):
        own = {
            "ln_1.weight": (width,),
            "ln_1.bias": (width,),
            "attn.c_attn.weight": (width, 3 * width),
            "attn.c_attn.bias": (3 * width,),
            "attn.c_proj.weight": (width, width),
            "attn.c_proj.bias": (width,),
            "ln_2.weight": (width,),
            "ln_2.bias": (width,),
            "mlp.c_fc.weight": (width, 4 * width),
            "mlp.c_fc.bias": (4 * width,),
            "mlp.c_proj.weight": (4 * width, width),
            "mlp.c_proj.bias": (width,),
        }
        shapes |= {f"h.{i}.{name}": shape for name, shape in own.items()}
    return shapes


def test_transformers_gpt2_has_turned_linears_and_no_head():
    found = infer(hf_gpt2())
    assert found.spec.groups == (64, 64)  # without a head the stream itself may be the output
    hidden = next(tensor for tensor in found.spec.tensors if tensor.name == "h.0.mlp.c_fc.weight")
    assert hidden.axes[0][0].group is None
    assert hidden.axes[1][0].group == 0
    headed = infer({**{f"transformer.{k}": v for k, v in hf_gpt2().items()}, "lm_head.weight": (50, 16)})
    assert headed.spec.groups == (16, 64, 64)


def test_an_adapter_file_is_a_lora():
    layer = "base_model.model.layers.{}.self_attn.{}.lora_{}.weight"
    shapes = {}
    for i in range(3):
        for part in ("q_proj", "v_proj"):
            shapes |= {layer.format(i, part, "A"): (8, 64), layer.format(i, part, "B"): (64, 8)}
    found = infer(shapes)
    assert found.spec.groups == (8,) * 6


def test_a_layer_between_the_two_of_an_adapter_fixes_its_rank():
    shapes = {"x.lora_down.weight": (4, 8, 1, 1), "x.lora_up.weight": (16, 4, 1, 1)}
    assert infer(shapes).spec.groups == (4,)
    found = infer({**shapes, "x.lora_mid.weight": (4, 4, 3, 3)})
    assert found.spec.groups == ()
    assert "LoRA of rank 4 (group, unknown)" in found.explain("group")


@pytest.mark.parametrize("names", [("conv", "dense", "dense_1"), ("0", "3", "5")])
def test_a_flatten_with_channels_last_fixes_its_channels(names):
    conv, first, last = names
    shapes = {f"{conv}.weight": (4, 1, 3, 3), f"{conv}.bias": (4,)}
    shapes |= {f"{first}.weight": (16, 36), f"{first}.bias": (16,), f"{last}.weight": (3, 16)}
    assert infer(shapes).spec.groups == (4, 16)
    found = infer(shapes, channels_last=True)
    assert found.spec.groups == (16,)
    assert "positions first" in found.explain("group")
