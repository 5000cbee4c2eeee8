"""The door to checkpoints: one file or one folder of shards in, named networks out."""

from contextlib import ExitStack
from pathlib import Path

from weightatlas.errors import FileError, WeightAtlasError
from weightatlas.weights.files.checkpoint import Checkpoint
from weightatlas.weights.files.content import open_file
from weightatlas.weights.files.networks import checkpoint_of
from weightatlas.weights.files.shards import index_of, open_index, open_parts
from weightatlas.weights.files.sniff import regular_size
from weightatlas.weights.files.zip_file import damaged

UNFORESEEN = "It could not be read in a way that was not foreseen"


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read the networks of a checkpoint without running any code in it.

    The format is told from the content, not from the name: safetensors, files of `torch.save` (new and old),
    ONNX, Keras and other HDF5, .npy, .npz, plain JSON lists, zips of these (Stable-Baselines3), and sharded
    checkpoints by their index, one of their parts, or their folder. Wrappers such as `state_dict` are
    opened, prefixes such as `module.` removed, optimizer states left out; the report says so. Sizes are
    compared with the size of the file before memory is taken.

    Example:
        >>> import torch, tempfile
        >>> file = Path(tempfile.mkdtemp()) / "run.ckpt"
        >>> weights = {"0.weight": torch.ones(2, 3)}
        >>> torch.save({"actor": weights, "critic": weights, "epoch": 3}, file)
        >>> [network.name for network in read_checkpoint(file).networks]
        ['actor', 'critic']

    Args:
        path: A checkpoint file, or the folder of a sharded one.

    Returns:
        All networks in it, each as name -> tensor on the CPU, and a report of what was found and changed.

    Raises:
        FileError: It is missing, empty, truncated, unsafe, far larger inside than outside, or no checkpoint.
        ConfigError: Its format needs a package that is not installed.
    """
    path = Path(path)
    try:
        with ExitStack() as stack:
            return _read(path, stack)
    except MemoryError:
        raise damaged(path, "It asks for more memory than there is.", "checkpoint") from None
    except WeightAtlasError:
        raise
    except RecursionError:
        raise damaged(path, "Its content is nested too deeply.", "checkpoint") from None
    except (
        Exception
    ) as error:  # Bytes from strangers: whatever a parser raises, the caller gets one kind of error.
        raise damaged(path, f"{UNFORESEEN}: {type(error).__name__}: {error}", "checkpoint") from error


def _read(path: Path, stack: ExitStack) -> Checkpoint:
    if path.is_dir():
        index = index_of(path)
        if index is None:
            todo = "Pass one of the files in it; find_checkpoints(folder) lists them."
            raise FileError(f"{path} is a folder, not a checkpoint file.", todo=todo)
        content = open_index(index, stack)
        sizes = [(path / file).stat().st_size for file in content.files]
        return checkpoint_of(path, content, sum(sizes))
    size = regular_size(path)
    content = open_parts(path, stack) or open_file(path, stack)
    if content.format.startswith("sharded"):
        size = sum((path.parent / file).stat().st_size for file in content.files)
    if content.format == "onnx":
        size += sum((path.parent / file).stat().st_size for file in content.files)
    return checkpoint_of(path, content, size)
