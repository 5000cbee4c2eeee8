"""A folder of checkpoints of all formats, good and bad, each with the outcome that reading it must have."""

import gzip
import io
import json
import os
import pickle
import struct
import warnings
import zipfile
from argparse import Namespace
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2, 2)}}, "param_groups": [{}]}


class Harmful:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@dataclass(frozen=True)
class Good:
    """What must be read from a file: its format and the number of tensors of each network."""

    format: str
    networks: dict[str, int]


@dataclass(frozen=True)
class Bad:
    """What the refusal of a file must say."""

    says: str


def state() -> dict[str, torch.Tensor]:
    """A small convolutional network: 4 layers, 13 tensors."""
    torch.manual_seed(1)
    layers = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5), nn.Linear(5, 2)
    return {f"{i}.{key}": v for i, part in enumerate(layers) for key, v in part.state_dict().items()}


def quantized(values: torch.Tensor) -> torch.Tensor:
    """Eight-bit numbers with one scale; torch warns that it will stop making them, files still hold them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(values, 0.01, 3, torch.qint8)


def arrays() -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in state().items()}


def bytes_of(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def torch_bytes(content: object, new: bool = True) -> bytes:
    return bytes_of(lambda out: torch.save(content, out, _use_new_zipfile_serialization=new))


def zip_bytes(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    def write(out: io.BytesIO) -> None:
        with zipfile.ZipFile(out, "w", method) as archive:
            for name, data in members.items():
                info = zipfile.ZipInfo(name)  # given as a name, an empty one would be refused
                info.compress_type = method
                archive.writestr(info, data)

    return bytes_of(write)


def bomb() -> bytes:
    """A zip of some hundred bytes whose directory says that it unpacks to 300 MB."""
    data = bytearray(zip_bytes({"a.npy": b"\0" * 9999}, zipfile.ZIP_DEFLATED))
    place = data.index(b"PK\x01\x02") + 24
    data[place : place + 4] = struct.pack("<I", 300 << 20)
    return bytes(data)


def safetensors_bytes(header: dict | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def onnx_bytes(data_location: str = "", turned: bool = True) -> bytes:
    """A convolution and a dense layer, the latter as a `Gemm` with the matrix (in, out) or (out, in)."""
    from onnx import TensorProto, helper, numpy_helper

    weights = state()
    dense = weights["4.weight"].numpy()
    kept = {
        "conv.weight": weights["0.weight"].numpy(),
        "conv.bias": weights["0.bias"].numpy(),
        "fc.weight": dense.T.copy() if turned else dense,
        "fc.bias": weights["4.bias"].numpy(),
    }
    initializers = [numpy_helper.from_array(array, name) for name, array in kept.items()]
    if data_location:
        for tensor in initializers[:1]:
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", data_location), ("offset", "0"), ("length", "108")):
                tensor.external_data.add(key=key, value=value)
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Flatten", ["b"], ["c"]),
        helper.make_node("Gemm", ["c", "fc.weight", "fc.bias"], ["y"], transB=0 if turned else 1),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", 1, [1, 1, 5, 5])], [value("y", 1, [1, 5])], initializers
    )
    return helper.make_model(graph, ir_version=8, producer_name="test").SerializeToString()


def keras_file(path: Path, *, config: bool = True) -> None:
    """The layout of `save(path.h5)` of Keras: convolution, batch normalization, dense, optimizer."""
    names = {
        "conv2d": (("kernel", (3, 3, 1, 4)), ("bias", (4,))),
        "batch_normalization": (
            ("gamma", (4,)),
            ("beta", (4,)),
            ("moving_mean", (4,)),
            ("moving_variance", (4,)),
        ),
        "dense": (("kernel", (16, 5)), ("bias", (5,))),
    }
    numbers = np.random.default_rng(3)
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if config else file
        root.attrs["layer_names"] = list(names)
        if config:
            file.attrs["keras_version"] = "3.0"
            layers = [{"class_name": key.title(), "config": {"name": key}} for key in names]
            file.attrs["model_config"] = json.dumps(
                {"class_name": "Sequential", "config": {"layers": layers}}
            )
            file["optimizer_weights/adam/dense_kernel_momentum"] = np.zeros((16, 5), np.float32)
        for layer, parts in names.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{part}:0" for part, _ in parts]
            for part, shape in parts:
                group[f"{layer}/{part}:0"] = numbers.normal(size=shape).astype(np.float32)


def numbered_keras_file(path: Path) -> None:
    """The layout of `save_weights(path.weights.h5)` of Keras 3."""
    numbers = np.random.default_rng(4)
    with h5py.File(path, "w") as file:
        for layer, shapes in {"dense": ((7, 3), (3,)), "dense_1": ((3, 2), (2,))}.items():
            group = file.create_group(f"layers/{layer}/vars")
            group.attrs["name"] = layer
            for index, shape in enumerate(shapes):
                group[str(index)] = numbers.normal(size=shape).astype(np.float32)
        file["optimizer/vars/0"] = np.zeros(3, np.float32)


def good_files(folder: Path) -> dict[str, Good]:
    """Write files that must be read; name -> what is in them."""
    weights, plain = state(), arrays()
    fc = {"fc.weight": torch.randn(4, 3), "fc.bias": torch.randn(4), "out.weight": torch.randn(2, 4)}
    trained = {
        "state": OPTIMIZER,
        "epoch": 3,
        "args": Namespace(lr=0.1),
        "best": np.float64(0.5),
    }
    renamed = {f"model.{key}": value for key, value in weights.items()}
    first = {"kernel": fc["fc.weight"], "bias": fc["fc.bias"]}
    flax = {"Dense_0": first, "Dense_1": {"kernel": fc["out.weight"]}}
    contents: dict[str, tuple[object, dict[str, int]]] = {
        "plain.pt": (weights, {"": 11}),
        "ordered.pth": (OrderedDict(weights), {"": 11}),
        "wrapped.ckpt": (
            {"model_state_dict": weights, "optimizer": OPTIMIZER, **trained},
            {"": 11},
        ),
        "lightning.ckpt": ({"state_dict": renamed, "optimizer_states": [{}], "epoch": 1}, {"": 11}),
        "nested.pt": ({"checkpoint": {"model": {"state_dict": weights}}}, {"": 11}),
        "parallel.pt": ({f"module._orig_mod.{key}": v for key, v in weights.items()}, {"": 11}),
        "gan.pt": ({"G": weights, "D": fc, "optG": {"param_groups": []}}, {"G": 11, "D": 3}),
        "agents.pt": (
            {"actor": fc, "critic": fc, "actor_target": fc},
            {"actor": 3, "critic": 3, "actor_target": 3},
        ),
        "list.pt": ([weights, weights, weights], {"0": 11, "1": 11, "2": 11}),
        "averages.pt": ({"ema": weights, "model": weights}, {"model": 11, "ema": 11}),
        "numpy_inside.pt": ({"model": plain}, {"": 11}),
        "half.bin": ({key: v.half() if v.is_floating_point() else v for key, v in weights.items()}, {"": 11}),
        "flax_like.pt": ({"params": flax}, {"": 3}),
        "parameters.pt": ({key: nn.Parameter(v) for key, v in fc.items()}, {"": 3}),
        "defaults.pt": ({"state_dict": fc, "log": defaultdict(list)}, {"": 3}),
    }
    found: dict[str, Good] = {}
    for name, (content, networks) in contents.items():
        (folder / name).write_bytes(torch_bytes(content))
        found[name] = Good("torch zip", networks)
        (folder / f"old_{name}").write_bytes(torch_bytes(content, new=False))
        found[f"old_{name}"] = Good("torch legacy", networks)
    (folder / "arrays.pkl").write_bytes(pickle.dumps({"params": plain}))
    found["arrays.pkl"] = Good("pickle", {"": 11})
    return found | _other_good_files(folder, weights, plain, fc)


def _other_good_files(folder: Path, weights: dict, plain: dict, fc: dict) -> dict[str, Good]:
    save_file(weights, folder / "plain.safetensors")
    save_file({key: v.bfloat16() for key, v in fc.items()}, folder / "half.pt", metadata={"made": "here"})
    np.savez(folder / "arrays.npz", **plain)
    np.savez_compressed(folder / "small.npz", **plain)
    np.save(folder / "matrix.npy", np.asfortranarray(plain["4.weight"]))
    (folder / "conv.onnx").write_bytes(onnx_bytes())
    (folder / "beside.onnx").write_bytes(onnx_bytes("beside.data"))
    (folder / "beside.data").write_bytes(weights["0.weight"].numpy().tobytes())
    keras_file(folder / "whole.h5")
    keras_file(folder / "old.weights.hdf5", config=False)
    numbered_keras_file(folder / "new.weights.h5")
    config = json.dumps({"config": {"layers": [{"class_name": "Dense", "config": {"name": "dense_1"}}]}})
    weights_h5 = (folder / "new.weights.h5").read_bytes()
    (folder / "whole.keras").write_bytes(
        zip_bytes({"config.json": config.encode(), "model.weights.h5": weights_h5})
    )
    with h5py.File(folder / "named.h5", "w") as file:
        for key, array in plain.items():
            file[key] = array
    policy = zip_bytes({
        "data": b'{"gamma": 0.99, "sizes": [64, 64]}',
        "policy.pth": torch_bytes(fc),
        "policy.optimizer.pth": torch_bytes(OPTIMIZER),
        "pytorch_variables.pth": torch_bytes(None),
        "_stable_baselines3_version": b"2.3.0",
    })  # fmt: skip
    (folder / "ppo.zip").write_bytes(policy)
    (folder / "pairs.json").write_text(json.dumps([[[[0.5, 1.5], [0.5, 2.5], [1, 2]], [0.1, 0.2, 0.3]]]))
    (folder / "named.json").write_text(json.dumps({key: v.tolist() for key, v in fc.items()}))
    tied = {"encoder.weight": weights["4.weight"], "decoder.weight": weights["4.weight"]}
    (folder / "tied.pt").write_bytes(torch_bytes(tied))
    shards = [{"a.weight": torch.ones(2, 3)}, {"b.weight": torch.zeros(3, 2)}]
    for number, shard in enumerate(shards, 1):
        save_file(shard, folder / f"model-{number:05d}-of-00002.safetensors")
    mapping = {"a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": mapping}))
    return {
        "plain.safetensors": Good("safetensors", {"": 11}),
        "half.pt": Good("safetensors", {"": 3}),
        "arrays.npz": Good("npz", {"": 11}),
        "small.npz": Good("npz", {"": 11}),
        "matrix.npy": Good("npy", {"": 1}),
        "conv.onnx": Good("onnx", {"": 4}),
        "beside.onnx": Good("onnx", {"": 4}),
        "whole.h5": Good("keras", {"": 8}),
        "old.weights.hdf5": Good("keras", {"": 8}),
        "new.weights.h5": Good("keras", {"": 4}),
        "whole.keras": Good("keras", {"": 4}),
        "named.h5": Good("hdf5", {"": 11}),
        "ppo.zip": Good("zip of torch zip", {"": 3}),
        "pairs.json": Good("json", {"": 2}),
        "named.json": Good("json", {"": 3}),
        "tied.pt": Good("torch zip", {"": 2}),
        "model.safetensors.index.json": Good("sharded safetensors", {"": 2}),
        "model-00002-of-00002.safetensors": Good("sharded safetensors", {"": 2}),
    }


def bad_files(folder: Path, trap: Path) -> dict[str, Bad]:
    """Write files that must be refused; name -> what the refusal says."""
    weights = state()
    whole = torch_bytes(weights)
    entry = {"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}
    huge = {"w": {"dtype": "F32", "shape": [1 << 40, 2], "data_offsets": [0, 1 << 43]}}
    objects = bytes_of(lambda out: np.save(out, np.array([{}, 1], dtype=object)))
    lies = b'{"weight_map": {"a": "../../a.bin", "b": "nowhere.safetensors"}}'
    script = {"m/data.pkl": b"\x80\x02}.", "m/code/a.py": b"x", "m/constants.pkl": b"\x80\x02)."}
    contents: dict[str, tuple[bytes, str]] = {
        "harm.pt": (torch_bytes({"w": torch.ones(2, 2), "x": Harmful(trap)}), r"would run code(.|\n)*mkdir"),
        "harm_old.pt": (torch_bytes({"x": Harmful(trap)}, new=False), r"would run code(.|\n)*mkdir"),
        "harm.pkl": (pickle.dumps(Harmful(trap)), r"would run code(.|\n)*mkdir"),
        "harm0.pkl": (pickle.dumps({"x": Harmful(trap)}, protocol=0), "no checkpoint|not a checkpoint|mkdir"),
        "half_loaded.pt": (whole[: len(whole) // 2], "half-downloaded"),
        "half_old.pt": (torch_bytes(weights, new=False)[:-40], "should end at byte"),
        "half.safetensors": (safetensors_bytes(entry, b"\0" * 7), "should end at byte"),
        "header.safetensors": (safetensors_bytes(entry, b"\0" * 16, length=1 << 38), "header should have"),
        "shape.safetensors": (safetensors_bytes(huge, b"\0" * 16), "damaged"),
        "pointer.pt": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "LFS pointer"),
        "page.pt": (b"<!DOCTYPE html><title>404 Not Found</title></html>", r"web page(.|\n)*404 Not Found"),
        "denied.safetensors": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "web page"),
        "packed.pt": (gzip.compress(whole), "gzip"),
        "zeros.pt": (b"\0" * 4096, "download that was not finished"),
        "text.ckpt": (b"hello, this is text", "not a checkpoint"),
        "empty.pt": (b"", "is empty"),
        "objects.npy": (objects, "pickled Python objects"),
        "short.npy": (bytes_of(lambda out: np.save(out, np.ones(99)))[:-8], "needs 792 bytes"),
        "bomb.npz": (bomb(), "would unpack"),
        "note.zip": (zip_bytes({"note.txt": b"hello"}), "no named tensors"),
        "script.pt": (zip_bytes(script), "TorchScript"),
        "optimizer_only.pt": (torch_bytes(OPTIMIZER), "optimizer"),
        "epochs.pt": (torch_bytes({"epoch": 3}), "no named tensors"),
        "settings.json": (b'{"lr": 0.1, "layers": "two"}', "no named tensors"),
        "broken.json": (b'{"w": [[1, 2], [3', "JSON"),
        "outside.onnx": (onnx_bytes("../secret.bin"), "outside its folder"),
        "missing.onnx": (onnx_bytes("missing.data"), "missing"),
        "cut.onnx": (onnx_bytes()[:-30], "damaged"),
        "cut.h5": ((folder / "whole.h5").read_bytes()[:2000], "damaged"),
        "lost-00001-of-00003.safetensors": (safetensors_bytes(entry, b"\0" * 16), "2 are missing"),
        "lost.index.json": (lies, r"outside(.|\n)*nowhere\.safetensors is missing"),
        "image.pt": (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "PNG"),
        "archive.pth": (b"x" * 257 + b"ustar" + b"\0" * 300, "tar archive"),
        "llama.gguf": (b"GGUF" + b"\0" * 40, "GGUF"),
    }  # fmt: skip
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    os.symlink(folder / "loop_b.pt", folder / "loop_a.pt")
    os.symlink(folder / "loop_a.pt", folder / "loop_b.pt")
    os.symlink(folder / "gone", folder / "dangling.pt")
    os.mkfifo(folder / "pipe.pt")
    (folder / "inner.pt").mkdir()
    others = {
        "loop_a.pt": Bad("cannot be read"),
        "dangling.pt": Bad("link to a file that is missing"),
        "pipe.pt": Bad("no ordinary file"),
        "inner.pt": Bad("is a folder"),
    }
    return {name: Bad(says) for name, (_, says) in contents.items()} | others
