"""Settings of torch's modules: each is either part of a function's id or known to mean nothing for it."""

import inspect

import pytest
from torch import nn

from weightatlas.weights.operations import MORE_SETTINGS, SETTINGS, UNNEEDED, attributes_of_module

MODULES = [kind for kind in vars(nn).values() if inspect.isclass(kind) and issubclass(kind, nn.Module)]
# Described by what they print and by their layers; or no operation of a network at all.
WHOLE = (nn.Transformer, nn.TransformerEncoder, nn.TransformerDecoder)
WHOLE += (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
NONE = (nn.DataParallel, nn.ModuleDict, nn.ModuleList, nn.ParameterDict, nn.ParameterList, nn.Container)
# Constructor arguments that stand in a module under another name, or only say how it starts.
RENAMED = {
    "Hardtanh": {"min_value", "max_value"},
    "PairwiseDistance": {"p"},
    "PReLU": {"init"},
    "RNNCellBase": {"num_chunks"},
    "SyncBatchNorm": {"process_group"},
    "MultiheadAttention": {"embed_dim", "kdim", "vdim", "dropout", "add_bias_kv"},
}
STARTS = {"self", "args", "kwargs", "bias", "device", "dtype"}


@pytest.mark.parametrize("kind", MODULES, ids=lambda kind: kind.__name__)
def test_every_setting_of_every_module_is_considered(kind):
    if issubclass(kind, (*WHOLE, *NONE)) or kind is nn.Module or "Loss" in kind.__name__:
        return
    constants = set(getattr(kind, "__constants__", ()))
    assert constants <= SETTINGS | UNNEEDED
    more = {name for base, names in MORE_SETTINGS.items() if issubclass(kind, base) for name in names}
    arguments = set(inspect.signature(kind.__init__).parameters) - STARTS - RENAMED.get(kind.__name__, set())
    public = {name for name in arguments if not name.startswith("_")}
    assert public <= constants | more | UNNEEDED, "two functions would get one id"


def test_settings_that_no_constant_names_make_a_difference():
    layer = {"d_model": 8, "dim_feedforward": 4}
    pairs = [
        (nn.MaxUnpool2d(2), nn.MaxUnpool2d(2, stride=1)),
        (nn.CrossMapLRN2d(3), nn.CrossMapLRN2d(3, alpha=1.0)),
        (nn.MultiheadAttention(8, 2), nn.MultiheadAttention(8, 4)),
        (nn.ConstantPad2d(1, 0.0), nn.ConstantPad2d(1, 2.0)),
        (nn.TransformerDecoderLayer(nhead=2, **layer), nn.TransformerDecoderLayer(nhead=4, **layer)),
        (nn.TransformerEncoderLayer(nhead=2, **layer), nn.TransformerEncoderLayer(nhead=4, **layer)),
    ]
    for one, other in pairs:
        assert attributes_of_module(one) != attributes_of_module(other), type(one).__name__


def test_what_shapes_tell_and_evaluation_ignores_is_left_out():
    assert attributes_of_module(nn.Linear(3, 4)) == {}
    assert attributes_of_module(nn.ReLU(inplace=True)) == {}
    assert attributes_of_module(nn.BatchNorm1d(4, momentum=0.3)) == {"eps": 1e-5}
    settings = {"stride": [2, 2], "padding": [1, 1], "dilation": [1, 1], "groups": 1}
    settings |= {"kernel_size": [3, 3], "padding_mode": "zeros"}
    assert attributes_of_module(nn.Conv2d(2, 4, 3, stride=2, padding=1)) == settings
