"""Keras: the tensors compute in PyTorch what Keras' formulas give, and go back to Keras' shapes."""

import json

import h5py
import numpy as np
import pytest
import torch

from tests.weights.files.collection import keras_file, numbered_keras_file, zip_bytes
from weightatlas.weights.files import read_checkpoint
from weightatlas.weights.infer import infer


def keras_convolution(inputs, kernel):
    """The definition with channels last: out[y, x, o] = sum over i, j, c of in[y+i, x+j, c] k[i, j, c, o]."""
    height, width = (inputs.shape[axis] - kernel.shape[axis] + 1 for axis in (0, 1))
    windows = np.lib.stride_tricks.sliding_window_view(inputs, kernel.shape[:2], axis=(0, 1))
    assert windows.shape[:2] == (height, width)
    return np.einsum("yxcij,ijco->yxo", windows, kernel)


def test_kernels_compute_the_same_and_go_back(tmp_path):
    keras_file(tmp_path / "a.h5")
    network = read_checkpoint(tmp_path / "a.h5").network
    with h5py.File(tmp_path / "a.h5") as file:
        stored = {key: np.array(file[key]) for key in (o.key for o in network.origins.values())}
    assert list(network.tensors)[:4] == [
        "conv2d.weight",
        "conv2d.bias",
        "batch_normalization.weight",
        "batch_normalization.bias",
    ]
    image = np.random.default_rng(0).normal(size=(6, 5, 1)).astype(np.float32)
    ours = torch.nn.functional.conv2d(
        torch.tensor(image).permute(2, 0, 1)[None], network.tensors["conv2d.weight"]
    )
    theirs = keras_convolution(image, stored["model_weights/conv2d/conv2d/kernel:0"])
    assert np.allclose(ours[0].permute(1, 2, 0).numpy(), theirs, atol=1e-5)
    rows = torch.randn(3, 16)
    dense = stored["model_weights/dense/dense/kernel:0"]
    assert np.allclose((rows @ network.tensors["dense.weight"].T).numpy(), rows.numpy() @ dense, atol=1e-5)
    back = network.restore(network.tensors)
    assert all(np.array_equal(back[key].numpy(), value) for key, value in stored.items())
    assert [step.name for step in network.graph] == ["conv2d", "batch_normalization", "dense"]


def test_flattened_positions_stand_before_channels(tmp_path):
    """A permutation of channels alone must not be called certain: dense rows count (y, x, channel)."""
    keras_file(tmp_path / "a.h5")
    network = read_checkpoint(tmp_path / "a.h5").network
    assert network.channels_last
    assert infer(network.tensors).spec.groups == (4,)
    assert infer(network.tensors, channels_last=network.channels_last).spec.groups == ()


def test_the_optimizer_is_left_out(tmp_path):
    keras_file(tmp_path / "a.h5")
    report = read_checkpoint(tmp_path / "a.h5").report
    assert report.skipped == {"optimizer_weights/adam/dense_kernel_momentum": "optimizer state"}


def test_numbered_variables_are_named_by_the_kind_of_their_layer(tmp_path):
    numbered_keras_file(tmp_path / "a.weights.h5")
    shapes = {
        name: tuple(t.shape) for name, t in read_checkpoint(tmp_path / "a.weights.h5").network.tensors.items()
    }
    assert shapes == {
        "dense.weight": (3, 7),
        "dense.bias": (3,),
        "dense_1.weight": (2, 3),
        "dense_1.bias": (2,),
    }


@pytest.mark.parametrize(("kind", "shape", "wanted"), [
    ("depthwise_conv2d", (3, 3, 4, 2), (8, 1, 3, 3)),
    ("conv2d_transpose", (3, 3, 5, 4), (4, 5, 3, 3)),
    ("conv1d", (7, 4, 6), (6, 4, 7)),
    ("conv3d", (2, 3, 4, 5, 6), (6, 5, 2, 3, 4)),
    ("embedding", (11, 6), (11, 6)),
])  # fmt: skip
def test_axes_of_the_kinds_of_layers(tmp_path, kind, shape, wanted):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        file[f"layers/{kind}/vars/0"] = values
    network = read_checkpoint(tmp_path / "a.weights.h5").network
    assert {name: tuple(t.shape) for name, t in network.tensors.items()} == {f"{kind}.weight": wanted}
    assert np.array_equal(network.restore(network.tensors)[f"layers/{kind}/vars/0"].numpy(), values)


def test_depthwise_kernels_keep_the_order_of_channels(tmp_path):
    """Keras: output channel c * times + m comes from input channel c."""
    kernel = np.zeros((1, 1, 2, 3), np.float32)
    kernel[0, 0] = [[1, 2, 3], [4, 5, 6]]
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        file["layers/depthwise_conv2d/vars/0"] = kernel
    (weight,) = read_checkpoint(tmp_path / "a.weights.h5").network.tensors.values()
    assert weight.flatten().tolist() == [1, 2, 3, 4, 5, 6]
    found = torch.nn.functional.conv2d(torch.tensor([[[[1.0]], [[10.0]]]]), weight, groups=2)
    assert found.flatten().tolist() == [1, 2, 3, 40, 50, 60]


def test_a_keras_zip_takes_the_order_of_layers_from_its_settings(tmp_path):
    numbered_keras_file(tmp_path / "w.h5")
    layers = [{"class_name": "Dense", "config": {"name": name}} for name in ("dense_1", "dense")]
    config = json.dumps({"config": {"layers": layers}}).encode()
    members = {"config.json": config, "model.weights.h5": (tmp_path / "w.h5").read_bytes()}
    (tmp_path / "a.keras").write_bytes(zip_bytes(members))
    assert next(iter(read_checkpoint(tmp_path / "a.keras").network.tensors)) == "dense_1.weight"


def h5_file(path, kernels, kinds=()):
    """A file of `save(path.h5)`, or without kinds of layers of `save_weights(path.h5)`."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if kinds else file
        root.attrs["layer_names"] = list(dict.fromkeys(name.partition("/")[0] for name in kernels))
        if kinds:
            layers = [{"class_name": kind, "config": {"name": name}} for name, kind in kinds]
            file.attrs["model_config"] = json.dumps({"config": {"layers": layers}})
        for name, kernel in kernels.items():
            layer = name.partition("/")[0]
            root[f"{layer}/{name}/kernel:0"] = kernel


@pytest.mark.parametrize("kinds", [(), [("output", "Conv1D")]])
def test_a_convolution_over_time_is_no_attention_whatever_its_name(tmp_path, kinds):
    kernel = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    h5_file(tmp_path / "a.h5", {"output": kernel}, kinds)
    weight = read_checkpoint(tmp_path / "a.h5").network.tensors["output.weight"]
    assert torch.equal(weight, torch.tensor(kernel).permute(2, 1, 0))


def test_heads_of_attention_are_joined(tmp_path):
    """Keras: queries[head, width] = sum of x[in] kernel[in, head, width]; the output layer sums over both."""
    numbers = np.random.default_rng(0)
    query, output = (numbers.normal(size=size).astype(np.float32) for size in ((6, 2, 3), (2, 3, 6)))
    kernels = {"mha/query": query, "mha/attention_output": output}
    h5_file(tmp_path / "a.h5", kernels, [("mha", "MultiHeadAttention")])
    network = read_checkpoint(tmp_path / "a.h5").network
    x = torch.randn(4, 6)
    heads = torch.einsum("ni,ihw->nhw", x, torch.tensor(query))
    assert torch.allclose(x @ network.tensors["query.weight"].T, heads.flatten(1), atol=1e-5)
    found = heads.flatten(1) @ network.tensors["attention_output.weight"].T
    assert torch.allclose(found, torch.einsum("nhw,hwo->no", heads, torch.tensor(output)), atol=1e-5)
    back = network.restore(network.tensors)
    assert all(
        torch.equal(back[f"model_weights/mha/{n}/kernel:0"], torch.tensor(k)) for n, k in kernels.items()
    )
