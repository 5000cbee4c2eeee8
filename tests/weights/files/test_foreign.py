"""Files of other programs: each is named, with what to do."""

import zlib

import pytest

from weightatlas.errors import FileError
from weightatlas.weights.files import find_checkpoints, read_checkpoint

FLOATS = b"\x3d\xcc\xcc\xcd\xbd\xcc\xcc\xcd" * 40


def field(tag: bytes, content: bytes) -> bytes:
    assert len(content) < 128
    return tag + bytes([len(content)]) + content


NODE = field(b"\x0a", b"input") + field(b"\x12", b"Placeholder")
FILES = {
    "saved_model.pb": (b"\x08\x01" + field(b"\x12", b"meta graph"), "TensorFlow SavedModel"),
    "frozen.pb": (field(b"\x0a", NODE) + field(b"\x0a", NODE), "a graph of TensorFlow"),
    "a.index": (b"\0\0\x01\x02" + bytes(40) + bytes.fromhex("57fb808b247547db"), "index of a TensorFlow"),
    "a.data-00000-of-00001": (FLOATS, "part of a TensorFlow checkpoint"),
    "a.caffemodel": (field(b"\x0a", b"LeNet") + field(b"\xa2\x06", b"layer"), "Caffe"),
    "old.caffemodel": (field(b"\x0a", b"LeNet") + field(b"\x12", b"layer"), "Caffe"),
    "a.mat": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(100), "MATLAB"),
    "a.joblib": (b"\x80\x04\x8c\x13joblib.numpy_pickle\x94\x8c\x11NumpyArrayWrapper\x94\xff", "joblib"),
    "b.joblib": (zlib.compress(b"\x80\x04\x8c\x05hello."), "joblib"),
    "a.msgpack": (b"\x81\xa6params\x81\xa5Dense\xc0", "MessagePack"),
    "a.params": (b"\x12\x01" + bytes(30), "MXNet"),
    "a.weights": (bytes(4) + b"\2\0\0\0\5\0\0\0" + FLOATS, "Darknet"),
    "a.t7": (b"\4\0\0\0\1\0\0\0\3\0\0\0V 1\r" + bytes(20), "Lua Torch"),
    "train-images": (b"\0\0\x08\x03" + bytes(20), "data"),
    "group1-shard1of1.bin": (FLOATS, "TensorFlow.js"),
    "notes.txt": (b"epoch 3, loss 0.2\n", "is text"),
    "noise.bin2": (FLOATS, "no known format"),
}
MANIFEST = b'{"weightsManifest": [{"paths": ["group1-shard1of1.bin"], "weights": []}]}'


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_program_is_named(tmp_path, name):
    content, what = FILES[name]
    (tmp_path / name).write_bytes(content)
    (tmp_path / "manifest.json").write_bytes(MANIFEST)
    with pytest.raises(FileError, match=what) as refusal:
        read_checkpoint(tmp_path / name)
    assert refusal.value.todo or name == "train-images"
    reasons = {found.path.name: found.skipped for found in find_checkpoints(tmp_path)}
    assert what in reasons[name] or name == "a.joblib"  # A pickle by its first bytes.


def test_the_description_of_a_tensorflow_js_network_is_named(tmp_path):
    (tmp_path / "model.json").write_bytes(MANIFEST)
    with pytest.raises(FileError, match=r"TensorFlow\.js"):
        read_checkpoint(tmp_path / "model.json")
