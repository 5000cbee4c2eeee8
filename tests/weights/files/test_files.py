"""Small files that ask for a lot of work are read or refused after little of it, whatever the clock says."""

import io
import json

import numpy as np
import pytest

from tests.weights.files import attacks, collection
from tests.weights.files.crafted import crafted
from tests.weights.files.fuzz import Fuzz
from weightatlas.errors import FileError
from weightatlas.weights.files import content, json_file, networks, numpy_file, read_checkpoint
from weightatlas.weights.files.pickle_machine import PickleDamage, read_pickle
from weightatlas.weights.files.torch_values import Values


def read(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return read_checkpoint(path)


REFUSED = {
    "nested_key.pt": (attacks.nested_key(), "no named tensors"),
    "nested_storage.pt": (attacks.nested_storage(), "storage has no name"),
    "long_name.pt": (attacks.long_shared_name(5000, 2), "A key has 5,000"),
    "long_global.pt": (attacks.long_global(5000, 2), "too long"),
    "globals.pt": (attacks.many_globals(150), "imports more than 20,000"),
    "collisions.pt": (attacks.colliding_keys(50), "no named tensors"),
    "long_name.json": (attacks.long_names(), "A name has 1,048,576"),
    "deflated.pt": (attacks.deflated_structure(40), "structure alone"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(tmp_path, name):
    data, says = REFUSED[name]
    with pytest.raises(FileError, match=says):
        read(tmp_path, name, data)


def test_limits_count_work(tmp_path, monkeypatch):
    monkeypatch.setattr(Values, "most_work", 500)
    with pytest.raises(FileError, match="too often"):
        read(tmp_path, "a.pt", attacks.shared_mapping(30, 30))
    monkeypatch.setattr(networks, "_MOST_TENSORS", 50)
    with pytest.raises(FileError, match="more than 50 tensors"):
        read(tmp_path, "b.pt", attacks.many_tensors(60))
    monkeypatch.setattr(content, "MOST_PROCESSES", 1)
    with pytest.raises(FileError, match="more than 1 HDF5"):
        read(tmp_path, "c.zip", attacks.zip_of_hdf5(2))
    monkeypatch.setattr(content, "MOST_MEMBERS", 1)
    with pytest.raises(FileError, match="2 files"):
        read(tmp_path, "d.zip", attacks.zip_of_hdf5(2))
    monkeypatch.setattr(numpy_file, "MOST_ARRAYS", 5)
    with pytest.raises(FileError, match="6 arrays"):
        read(tmp_path, "e.npz", attacks.npz_of_many(6))


def test_each_list_is_measured_once(tmp_path, monkeypatch):
    seen = []
    measure = json_file._measured
    monkeypatch.setattr(
        json_file, "_measured", lambda value, shapes: seen.append(1) or measure(value, shapes)
    )
    with pytest.raises(FileError, match="no named tensors"):
        read(tmp_path, "a.json", attacks.deep_json(40, 10))
    assert len(seen) == 40


def test_wide_graphs_keep_their_weights(tmp_path):
    assert len(read(tmp_path, "a.onnx", attacks.wide_onnx(30)).network.tensors) == 30


def test_no_memory_is_taken_for_bytes_that_are_missing(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x04\x8e" + (1 << 50).to_bytes(8, "little") + b"abc.")
    with path.open("rb") as file, pytest.raises(PickleDamage, match="only"):
        read_pickle(file)


def test_crafted_files_end_in_a_named_error_or_are_read(tmp_path):
    fuzz = Fuzz(tmp_path, seed=6)
    cases = [case for number in range(12) for case in crafted(number)]
    outcomes = [fuzz.read(*case).split(":")[0] for case in cases]
    assert set(outcomes) == {"read", "refused"}
    assert crafted(3) == crafted(3)


def test_shards_with_endless_names_are_missing(tmp_path):
    index = {"weight_map": {"a": "x" * 5000 + ".safetensors"}}
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    with pytest.raises(FileError, match=r"The shard x+ is missing"):
        read_checkpoint(path)


def test_members_without_a_name_are_read_or_refused(tmp_path):
    with pytest.raises(FileError):
        read(tmp_path, "a.zip", collection.zip_bytes({"": b"1"}))


def test_empty_arrays_with_endless_axes_are_refused(tmp_path):
    file = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (2**62, 0, 2)}
    np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(FileError, match="4611686018427387904"):
        read(tmp_path, "a.npy", file.getvalue())
