"""Read HDF5 files, those of Keras under PyTorch's conventions."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from weightatlas.errors import ConfigError
from weightatlas.weights.files.leaf import Leaf
from weightatlas.weights.files.safetensors_file import read_safetensors
from weightatlas.weights.files.zip_file import allowed, damaged

_SECONDS = 8
"""Processor seconds a small file may take, which other programs do not use up."""
_PATIENCE = 5
"""How many times as long it may take by the clock."""
_SLOW = "Reading it takes too long."
_STOPPED = (-24, -9)  # SIGXCPU, SIGKILL
_SLOWEST = 10 << 20
"""Bytes a second that a disk surely gives."""


def read_hdf5(path: Path, folder: Path) -> tuple[dict[str, Leaf], dict[str, Any], dict[str, str]]:
    """Read all plain arrays of an HDF5 file in a process of its own.

    Args:
        path: The file.
        folder: A folder for the arrays; it must last until they are read.

    Returns:
        Path of each array -> tensor in the file's order, texts by path of the object, and what was left out.

    Raises:
        FileError: It is damaged, or the library crashed on it, took too long or too much memory.
        ConfigError: The package `h5py` is not installed.
    """
    if importlib.util.find_spec("h5py") is None:
        todo = "pip install 'weightatlas[hdf5]'"
        raise ConfigError(f"{path} is an HDF5 file; the package h5py is not installed.", todo=todo)
    size = path.stat().st_size
    out, seconds = folder / "arrays.safetensors", _SECONDS + size // _SLOWEST
    # A plugin would be code that the file chooses. One thread: threads count against the memory limit.
    quiet = {"HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("hdf5_worker.py")
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-I",
                str(script),
                str(path.absolute()),
                str(out),
                str(allowed(size)),
                str(seconds),
            ],
            capture_output=True,
            env={**os.environ, **quiet},
            timeout=_PATIENCE * seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise damaged(path, _SLOW, "HDF5 file") from None
    if done.returncode in _STOPPED:
        raise damaged(path, _SLOW, "HDF5 file")
    if done.returncode != 0:
        reason = done.stderr.decode("utf-8", "replace").strip().splitlines()
        crash = "The HDF5 library crashed on it; this process is unharmed."
        raise damaged(path, reason[-1] if done.returncode > 0 and reason else crash, "HDF5 file")
    try:
        found = json.loads(done.stdout)
    except ValueError:
        raise damaged(path, "What it holds cannot be listed.", "HDF5 file") from None
    arrays, _ = read_safetensors(out)
    return {name: arrays[name] for name in found["order"]}, found["attributes"], found["skipped"]
