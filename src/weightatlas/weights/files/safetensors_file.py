"""Read safetensors files."""

from pathlib import Path

from torch import Tensor

from weightatlas.errors import FileError


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file.

    Args:
        path: The file.

    Raises:
        FileError: The file is truncated or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise FileError(
            f"{path} is a damaged or truncated safetensors file.",
            where=str(error),
            todo="Copy or download it again.",
        ) from None
