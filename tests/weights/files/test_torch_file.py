"""Torch files: the tensors that torch's own safe loader gives, without its unpickler."""

import io
import struct
import sys
import warnings
import zipfile

import pytest
import torch
from torch import nn

from tests.weights.files.collection import Harmful, quantized, state, torch_bytes, zip_bytes
from weightatlas.errors import FileError
from weightatlas.weights.files import read_checkpoint

TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
TENSOR += b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00%s\x89}tR"
SQUARE = TENSOR % b"K\x02K\x02\x86K\x02K\x01\x86"


def crafted(path, pickled, numbers=4):
    """A torch zip around a pickle written by hand, with one storage of float32 zeros."""
    data = {"a/data.pkl": b"\x80\x02" + pickled + b".", "a/data/0": b"\0" * 4 * numbers, "a/version": b"3\n"}
    path.write_bytes(zip_bytes(data))
    return path


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def special():
    base = torch.arange(24.0)
    whole = torch.randn(4, 6)
    return {
        "strided": whole.t()[1:, ::2],
        "view": base[5:17].reshape(3, 4),
        "scalar": torch.tensor(2.5),
        "none": torch.empty(0, 3),
        "parameter": nn.Parameter(torch.ones(2, 2)),
        "expanded": torch.ones(1, 3).expand(5, 3),
        "bool": torch.tensor([True, False]),
        "int": torch.arange(3),
        "bfloat16": torch.randn(3).bfloat16(),
        "float8": torch.randn(3).to(torch.float8_e4m3fn),
        "uint16": torch.arange(3, dtype=torch.int32).to(torch.uint16),
    }


@pytest.mark.parametrize("new", [True, False])
def test_tensors_are_those_of_the_loader_of_torch(tmp_path, new):
    content = {"model": special()}
    if not new:  # torch itself cannot read these from its old format
        content["model"] = {key: v for key, v in content["model"].items() if key not in ("uint16", "float8")}
    (tmp_path / "a.pt").write_bytes(torch_bytes(content, new))
    wanted = torch.load(tmp_path / "a.pt", weights_only=True)["model"]
    network = read_checkpoint(tmp_path / "a.pt").network
    assert list(network.tensors) == list(wanted)
    for name, tensor in wanted.items():
        found = network.tensors[name]
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape), name
        assert bits(found).equal(bits(tensor.detach())), name


def test_sparse_complex_and_quantized_tensors_come_as_plain_numbers(tmp_path):
    sparse, complex_ = torch.eye(3).to_sparse(), torch.tensor([[1 + 2j, 3 - 4j]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scales, zeros = torch.tensor([0.1, 0.2, 0.4], dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
        channels = torch.quantize_per_channel(torch.randn(3, 2), scales, zeros, 0, torch.qint8)
    content = {"s": sparse, "c": complex_, "q": quantized(torch.ones(2, 2)), "p": channels}
    (tmp_path / "a.pt").write_bytes(torch_bytes(content))
    network = read_checkpoint(tmp_path / "a.pt").network
    assert network.tensors["s"].equal(torch.eye(3))
    assert network.tensors["c"].equal(torch.view_as_real(complex_))
    assert network.tensors["q"].equal(content["q"].dequantize())
    assert torch.allclose(network.tensors["p"], channels.dequantize(), rtol=1e-6)
    assert set(network.lossy) == {"q", "p"}


def test_shared_storage_is_one_tensor_even_across_names_and_reads_once(tmp_path):
    whole = torch.randn(8, 4)
    (tmp_path / "a.pt").write_bytes(
        torch_bytes({"in.weight": whole, "out.weight": whole, "half.weight": whole[:4]})
    )
    network = read_checkpoint(tmp_path / "a.pt").network
    assert network.ties == (("in.weight", "out.weight"),)
    assert network.tensors["in.weight"].data_ptr() == network.tensors["out.weight"].data_ptr()


def test_storages_of_an_optimizer_are_not_even_read(tmp_path):
    """Damage in a part that is left out does no harm; the same damage in a weight is found."""
    layer = nn.Linear(48, 48)
    moments = {0: {"exp_avg": torch.randn(48, 48), "exp_avg_sq": torch.randn(48, 48)}}
    content = {"model": layer.state_dict(), "optimizer": {"state": moments, "param_groups": [{}]}}
    data = bytearray(torch_bytes(content))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        sizes = {info.filename: info for info in archive.infolist() if "/data/" in info.filename}
    large = [info for info in sizes.values() if info.file_size == 48 * 48 * 4]
    found = []
    for info in large:
        broken = bytearray(data)
        broken[info.header_offset + 200] ^= 0xFF
        (tmp_path / "a.pt").write_bytes(broken)
        try:
            found.append(len(read_checkpoint(tmp_path / "a.pt").network.tensors))
        except FileError as error:
            found.append(str(error))
    assert found[1:] == [2, 2]
    assert "checksum" in found[0]


def test_a_storage_smaller_than_its_tensor_is_damage_not_garbage(tmp_path):
    assert (
        read_checkpoint(crafted(tmp_path / "a.pt", b"}X\x01\x00\x00\x00w" + SQUARE + b"s")).network.params
        == 4
    )
    with pytest.raises(FileError, match=r"storage 0 should have 16 bytes and has 12"):
        read_checkpoint(crafted(tmp_path / "b.pt", b"}X\x01\x00\x00\x00w" + SQUARE + b"s", numbers=3))
    large = TENSOR % b"K\x03K\x03\x86K\x03K\x01\x86"
    with pytest.raises(FileError, match="needs 9 numbers; its storage has 4"):
        read_checkpoint(crafted(tmp_path / "c.pt", b"}X\x01\x00\x00\x00w" + large + b"s"))
    endless = TENSOR % b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86K\x00K\x00\x86"
    with pytest.raises(FileError, match="repeats 4 numbers"):
        read_checkpoint(crafted(tmp_path / "d.pt", b"}X\x01\x00\x00\x00w" + endless + b"s"))


def test_content_that_shares_its_parts_does_not_unfold(tmp_path):
    """Forty dictionaries, each holding the one before twice: a trillion paths in a file of a kilobyte."""
    pickled = b"}q\x00X\x01\x00\x00\x00w" + SQUARE + b"s"
    for depth in range(1, 40):
        last = b"h" + bytes([depth - 1])
        pickled += (
            b"0}q" + bytes([depth]) + b"(X\x01\x00\x00\x00a" + last + b"X\x01\x00\x00\x00b" + last + b"u"
        )
    found = read_checkpoint(crafted(tmp_path / "a.pt", pickled))
    assert sum(len(network.tensors) for network in found.networks) < 100
    assert any("not all were looked at" in note for note in found.report.notes)


def test_a_request_for_memory_in_a_pickle_takes_none(tmp_path):
    pickled = (
        b"}(X\x01\x00\x00\x00w"
        + SQUARE
        + b"X\x01\x00\x00\x00bc__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85Ru"
    )
    found = read_checkpoint(crafted(tmp_path / "a.pt", pickled))
    assert found.report.skipped["b"] == "not a tensor (builtins.bytearray)"


def test_python_never_imports_for_a_pickle(tmp_path):
    """Python announces every name its unpickler looks up; reading causes no such event."""
    events = []
    sys.addaudithook(
        lambda event, arguments: events.append(arguments) if event == "pickle.find_class" else None
    )
    (tmp_path / "a.pt").write_bytes(torch_bytes(state()))
    (tmp_path / "b.pt").write_bytes(torch_bytes({"x": Harmful(tmp_path / "trap")}))
    read_checkpoint(tmp_path / "a.pt")
    with pytest.raises(FileError, match="would run code"):
        read_checkpoint(tmp_path / "b.pt")
    assert events == []
    assert not (tmp_path / "trap").exists()


def test_numbers_of_the_other_byte_order_are_turned(tmp_path):
    members = {"a/data.pkl": b"\x80\x02}X\x01\x00\x00\x00w" + SQUARE + b"s.", "a/byteorder": b"big"}
    (tmp_path / "a.pt").write_bytes(zip_bytes(members | {"a/data/0": struct.pack(">4f", 1, 2, 3, 4)}))
    assert read_checkpoint(tmp_path / "a.pt").network.tensors["w"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("order", ["little", "big"])
def test_a_view_of_a_storage_begins_where_it_says(tmp_path, order):
    """Old files name a part of a storage: here the last 4 of 6 numbers, and of these the last 3."""
    place = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + place + b"X\x01\x00\x00\x00vK\x02K\x04\x87tQ"
    tensor += b"K\x01K\x03\x85K\x01\x85\x89}tR"
    numbers = struct.pack("<6f" if order == "little" else ">6f", *range(6))
    members = {"a/data.pkl": b"\x80\x02}X\x01\x00\x00\x00w" + tensor + b"s.", "a/data/0": numbers}
    (tmp_path / "a.pt").write_bytes(zip_bytes(members | {"a/byteorder": order.encode()}))
    assert read_checkpoint(tmp_path / "a.pt").network.tensors["w"].tolist() == [3, 4, 5]
