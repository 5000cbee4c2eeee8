"""HDF5: links out of the file are not followed, and what would need too much is refused."""

import h5py
import numpy as np
import pytest

from weightatlas.errors import FileError
from weightatlas.weights.files import read_checkpoint


def test_links_and_arrays_in_other_files_are_left_out(tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.arange(4, dtype=np.float32).tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["weight"] = np.ones((2, 2), np.float32)
        file["again"] = h5py.SoftLink("/weight")
        file["elsewhere"] = h5py.ExternalLink("b.h5", "/x")
        file.create_dataset("raw", (4,), "f4", external=[(str(secret), 0, 16)])
        file["loop"] = file["/"]
        file["words"] = "text"
    found = read_checkpoint(tmp_path / "a.h5")
    assert set(found.network.tensors) == {"weight"}
    assert found.report.skipped["raw"] == "its numbers stand in another file"
    assert (found.report.skipped["again"], found.report.skipped["elsewhere"]) == ("a link", "a link")


def test_an_array_that_unpacks_to_far_more_than_the_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("w", (1 << 34,), "f4", chunks=(1 << 20,), compression="gzip")
    with pytest.raises(FileError, match=r"damaged HDF5(.|\n)*unpack to more than"):
        read_checkpoint(tmp_path / "a.h5")
