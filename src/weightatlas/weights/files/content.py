"""Open one file of any known format, down to nested content with a `Leaf` at each tensor."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from weightatlas.errors import FileError
from weightatlas.weights.files.checkpoint import Operation
from weightatlas.weights.files.sniff import HDF5, Kind, kind_of, unknown
from weightatlas.weights.files.zip_file import Archive, open_zip

MOST_MEMBERS = 1000
MOST_PROCESSES = 8
"""HDF5 files in one zip; each starts a process."""


@dataclass(eq=False)
class Content:
    """What a file holds before networks are looked for.

    Args:
        tree: Nested dictionaries and lists with `Leaf` at the tensors.
        format: Name of the format.
        keys: Name in `tree` -> key in the file, where they differ.
        skipped: Key -> why it is not in `tree`.
        notes: Sentences about what was found.
        metadata: Texts the file carries about itself.
        graph: Operations, if the file holds them.
        files: Members, shards or files beside it that were read.
    """

    tree: Any
    format: str
    keys: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    graph: tuple[Operation, ...] = ()
    files: tuple[str, ...] = ()


def open_file(path: Path, stack: ExitStack, *, inside: bool = False) -> Content:
    """Open a file by what it is.

    Args:
        path: The file.
        stack: Closes what must stay open until the tensors are read.
        inside: True for a member of a zip; zips inside zips inside zips are not opened.

    Raises:
        FileError: It is damaged, unsafe, or no checkpoint.
    """
    kind: Kind = kind_of(path)
    if kind == "zip":
        return _zip(stack.enter_context(open_zip(path)), stack, inside)
    if kind == "pickle":
        from weightatlas.weights.files.torch_file import read_torch_stream

        tree, name = read_torch_stream(path, stack.enter_context(path.open("rb")), path.stat().st_size)
        return Content(tree, name)
    if kind == "safetensors":
        from weightatlas.weights.files.safetensors_file import read_safetensors

        leaves, metadata = read_safetensors(path)
        return Content(leaves, kind, metadata=metadata)
    if kind == "onnx":
        from weightatlas.weights.files.onnx_file import read_onnx

        tree, graph, metadata, notes, files = read_onnx(path)
        return Content(tree, kind, graph=graph, metadata=metadata, notes=notes, files=files)
    if kind == "hdf5":
        return _hdf5(path, stack)
    if kind == "npy":
        from weightatlas.weights.files.numpy_file import read_npy

        return Content(read_npy(path), kind)
    if kind == "json":
        from weightatlas.weights.files.json_file import read_json

        return Content(read_json(path), kind)
    from weightatlas.weights.files.shards import open_index

    return open_index(path, stack)


def _zip(archive: Archive, stack: ExitStack, inside: bool) -> Content:
    """Tell zips of torch, numpy and Keras from zips that merely hold checkpoints."""
    names = archive.names
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        from weightatlas.weights.files.torch_file import read_torch_zip

        tree, kind = read_torch_zip(archive)
        return Content(tree, kind)
    if any(name.endswith(".weights.h5") for name in names) and "config.json" in names:
        return _keras_zip(archive, stack)
    if names and all(name.endswith(".npy") for name in names):
        from weightatlas.weights.files.numpy_file import read_npz

        return Content(read_npz(archive), "npz")
    if inside:
        raise unknown(archive.path, b"PK", archive.path.stat().st_size)
    return _members(archive, stack)


def _members(archive: Archive, stack: ExitStack) -> Content:
    """Open every member that is a checkpoint: Stable-Baselines3, and folders that were zipped."""
    if len(archive.names) > MOST_MEMBERS:
        raise _crowded(archive, f"{len(archive.names):,} files, more than {MOST_MEMBERS:,}")
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="weightatlas-")))
    tree: dict[str, Any] = {}
    processes = 0
    content = Content(tree, "zip")
    formats: dict[str, list[str]] = {}
    for index, name in enumerate(archive.names):
        target = folder / f"{index}"  # Never the member's own name: it may lead out of the folder.
        target.write_bytes(archive.read(name))
        processes += archive.head(name, 8) == HDF5
        if processes > MOST_PROCESSES:
            raise _crowded(archive, f"more than {MOST_PROCESSES} HDF5 files")
        try:
            found = open_file(target, stack, inside=True)
        except FileError as error:
            content.skipped[name] = error.what.replace(str(target), name)
            target.unlink()
            continue
        stem = name.rpartition(".")[0] or name
        stem = name if stem in tree else stem
        tree[stem] = found.tree
        formats.setdefault(found.format, []).append(stem)
        content.files += (name,)
    if len(formats) > 1:  # Lists in settings beside the weights are no weights.
        for stem in formats.pop("json", []):
            del tree[stem]
    content.format = f"zip of {', '.join(formats)}" if formats else "zip"
    if "_stable_baselines3_version" in archive.names:
        version = archive.head("_stable_baselines3_version", 40)
        content.metadata["stable_baselines3"] = version.decode("utf-8", "replace").strip()
    return content


def _crowded(archive: Archive, what: str) -> FileError:
    todo = "Unpack it and pass the files that are checkpoints."
    return FileError(f"{archive.path} is a zip of {what}.", todo=todo)


def _hdf5(path: Path, stack: ExitStack, config: Mapping[str, Any] | None = None) -> Content:
    from weightatlas.weights.files.hdf5_file import read_hdf5
    from weightatlas.weights.files.keras_layout import is_keras, keras_graph, keras_tree, parsed

    folder = Path(stack.enter_context(TemporaryDirectory(prefix="weightatlas-")))
    arrays, attributes, skipped = read_hdf5(path, folder)
    if config is None and not is_keras(arrays, attributes):
        tree: dict[str, Any] = {name.replace("/", "."): leaf for name, leaf in arrays.items()}
        keys = {name.replace("/", "."): name for name in arrays}
        return Content(tree, "hdf5", keys=keys, skipped=skipped)
    config = config or parsed(attributes.get("", {}).get("model_config"))
    leaves, left, paths = keras_tree(arrays, attributes, config)
    metadata = {
        key: text for key, text in attributes.get("", {}).items() if key in ("keras_version", "backend")
    }
    keys = dict(zip(leaves, paths, strict=True))
    turned = sum(leaf.axes is not None for leaf in leaves.values())
    note = f"{turned} kernels were turned from Keras' order of axes to PyTorch's (out, in, ...)."
    return Content(
        leaves, "keras", keys, {**skipped, **left}, [note] if turned else [], metadata, keras_graph(config)
    )


def _keras_zip(archive: Archive, stack: ExitStack) -> Content:
    """Open a `.keras` file: the configuration beside an HDF5 file of weights."""
    from weightatlas.weights.files.keras_layout import parsed

    folder = Path(stack.enter_context(TemporaryDirectory(prefix="weightatlas-")))
    inner = next(name for name in archive.names if name.endswith(".weights.h5"))
    (folder / "weights.h5").write_bytes(archive.read(inner))
    content = _hdf5(folder / "weights.h5", stack, parsed(bytes(archive.read("config.json"))))
    content.files = (inner,)
    return content
