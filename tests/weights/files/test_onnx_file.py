"""ONNX: PyTorch's conventions with the way back, quantized weights, files beside, the graph."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.weights.files.collection import onnx_bytes, state
from weightatlas.errors import FileError
from weightatlas.weights.family import family_of
from weightatlas.weights.files import read_checkpoint
from weightatlas.weights.infer import infer


def saved(path, nodes, initializers):
    graph = helper.make_graph(nodes, "g", [], [], initializers)
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return read_checkpoint(path)


@pytest.mark.parametrize("turned", [True, False])
def test_dense_matrices_are_out_in_and_can_go_back(tmp_path, turned):
    (tmp_path / "a.onnx").write_bytes(onnx_bytes(turned=turned))
    network = read_checkpoint(tmp_path / "a.onnx").network
    dense = state()["4.weight"]
    assert network.tensors["fc.weight"].equal(dense)
    assert network.tensors["conv.weight"].equal(state()["0.weight"])
    assert network.restore(network.tensors)["fc.weight"].equal(dense.T if turned else dense)
    assert [step.op for step in network.graph][:4] == ["Conv", "Relu", "Flatten", "Gemm"]
    assert (network.graph[-1].op, network.graph[-1].inputs) == ("Output", ("y",))
    assert network.graph[0].attributes == {"strides": [2, 2]}
    assert network.graph[3].inputs[1] == "fc.weight"


def test_quantized_weights_stand_for_numbers_and_their_scales_are_no_weights(tmp_path):
    integers = np.array([[1, -2, 3], [4, 5, -6]], np.int8)
    scales, zeros = np.array([0.5, 0.25], np.float32), np.array([1, 0], np.int8)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["w"], axis=0),
        helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1),
    ]
    parts = {"q": integers, "scale": scales, "zero": zeros, "b": np.ones(2, np.float32)}
    found = saved(tmp_path / "a.onnx", nodes, [numpy_helper.from_array(v, k) for k, v in parts.items()])
    wanted = (integers.astype(np.float32) - zeros[:, None]) * scales[:, None]
    assert found.network.tensors["q"].numpy().tolist() == wanted.tolist()
    assert set(found.network.tensors) == {"q", "b"}
    assert set(found.network.lossy) == {"q"}


def test_constants_of_shape_arithmetic_are_left_out_and_named(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Reshape", ["a", "shape"], ["y"]),
    ]
    parts = {"w": np.ones((3, 2), np.float32), "shape": np.array([1, -1])}
    found = saved(tmp_path / "a.onnx", nodes, [numpy_helper.from_array(v, k) for k, v in parts.items()])
    assert {name: tuple(t.shape) for name, t in found.network.tensors.items()} == {"w": (2, 3)}
    assert any("shape" in note for note in found.report.notes)
    assert found.network.graph[1].attributes == {"shape": [1, -1]}


@pytest.mark.parametrize(
    "kind", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16]
)
def test_typed_lists_and_raw_bytes_hold_the_same(tmp_path, kind):
    values = [0.5, -1.0, 2.0, 0.25]
    tensor = helper.make_tensor("w", kind, [2, 2], values)
    found = saved(tmp_path / "a.onnx", [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)], [tensor])
    assert found.network.tensors["w"].float().flatten().tolist() == values


def test_a_tensor_that_declares_more_than_it_has_is_damage(tmp_path):
    tensor = TensorProto(name="w", data_type=1, dims=[1 << 40, 1 << 20], raw_data=b"\0" * 16)
    with pytest.raises(FileError, match=r"needs .* bytes; it has 16"):
        saved(tmp_path / "a.onnx", [], [tensor])


@pytest.mark.parametrize("place", ["../secret", "/etc/hostname", "link"])
def test_files_outside_the_folder_are_not_opened(tmp_path, place):
    (tmp_path / "secret").write_bytes(torch.ones(27).numpy().tobytes())
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "inner" / "a.onnx").write_bytes(onnx_bytes(place))
    with pytest.raises(FileError, match="outside its folder and was not opened"):
        read_checkpoint(tmp_path / "inner" / "a.onnx")


def test_weights_inside_the_branches_of_an_if_are_found_and_never_permuted(tmp_path):
    def branch(width):
        parts = {"w": np.ones((width, 4), np.float32), "v": np.ones((2, width), np.float32)}
        nodes = [
            helper.make_node("Gemm", ["x", "w"], ["h"], transB=1),
            helper.make_node("Gemm", ["h", "v"], ["out"], transB=1),
        ]
        value = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
        return helper.make_graph(
            nodes, "b", [], [value], [numpy_helper.from_array(v, k) for k, v in parts.items()]
        )

    node = helper.make_node("If", ["c"], ["y"], name="rate", then_branch=branch(8), else_branch=branch(6))
    network = saved(tmp_path / "a.onnx", [node], []).network
    shapes = {name: tuple(tensor.shape) for name, tensor in network.tensors.items()}
    assert sorted(shapes.values()) == [(2, 6), (2, 8), (6, 4), (8, 4)]
    assert {"w", "v"} < set(shapes)
    assert all(name in ("w", "v") or name.startswith("rate/") for name in shapes)
    assert infer(network.tensors, graph=network.graph).spec.groups == ()


def test_a_recurrent_operation_is_one_layer_of_joined_gates(tmp_path):
    parts = {"w": np.ones((1, 32, 5)), "r": np.ones((1, 32, 8)), "b": np.ones((1, 64))}
    node = helper.make_node("LSTM", ["x", "w", "r", "b"], ["y", "h"], hidden_size=8)
    stored = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in parts.items()]
    network = saved(tmp_path / "a.onnx", [node], stored).network
    assert {name: tuple(tensor.shape) for name, tensor in network.tensors.items()} == {
        "w": (32, 5),
        "r": (32, 8),
        "b": (64,),
    }
    assert network.restore(network.tensors)["w"].shape == (1, 32, 5)
    found = infer(network.tensors, graph=network.graph)
    assert family_of(found).name == "recurrent 1 x 8"
    assert [tensor.role for tensor in found.spec.tensors] == ["weight", "weight", "bias"]
    assert found.spec.groups == ()


def test_numbers_in_files_beside_it_count_as_its_own(tmp_path, monkeypatch):
    """Large networks keep nearly all bytes there: the small file alone would not account for them."""
    monkeypatch.setattr("weightatlas.weights.files.zip_file.ROOM", 0)
    monkeypatch.setattr("weightatlas.weights.files.zip_file.RATIO", 1)
    (tmp_path / "w.bin").write_bytes(torch.ones(50, 50).numpy().tobytes())
    tensor = TensorProto(name="w", data_type=1, dims=[50, 50], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w.bin")
    found = saved(tmp_path / "a.onnx", [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)], [tensor])
    assert found.network.tensors["w"].equal(torch.ones(50, 50))
    assert found.report.files == ("w.bin",)
