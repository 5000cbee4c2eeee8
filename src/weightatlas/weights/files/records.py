"""Objects of other people's classes inside a pickle, as records of their fields; no class is imported."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from weightatlas.errors import FileError
from weightatlas.weights.files.modules import Modules, fields_of, made
from weightatlas.weights.files.pickle_machine import MOST_STEPS, Call
from weightatlas.weights.files.torch_values import Opaque, Values

_MANY = 20_000_000  # instructions of a data set; about 4 GB of records


@dataclass(frozen=True, eq=False)
class Record:
    """An object as its pickle describes it.

    Args:
        name: Class it would have been made of.
        arguments: What would have been passed to the class.
        fields: Its attributes.
    """

    name: str
    arguments: tuple[Any, ...]
    fields: dict[str, Any]


@dataclass(frozen=True)
class Objects:
    """Which objects may stand in a pickle besides tensors and containers.

    Example:
        >>> Objects(("ghrp.",)).allows("ghrp.datasets.SimCLRDataset"), Objects().allows("posix.system")
        (True, False)

    Args:
        names: Names, or beginnings of names that end in a dot.
        most: Instructions a pickle may have.
    """

    names: tuple[str, ...] = ()
    most: int = MOST_STEPS

    def allows(self, name: str) -> bool:
        """Tell whether a class may be named. Nothing is imported either way."""
        return any(name.startswith(own) if own.endswith(".") else name == own for own in self.names)

    def values(
        self,
        read: Callable[[str], Tensor],
        inner: Callable[[bytes], Any] | None = None,
        swapped: bool = False,
    ) -> Values:
        """Make what gives the records of a pickle their meaning."""
        return _Recorded(self, read, inner, swapped) if self.names else Modules(read, inner, swapped)


PLAIN = Objects()


class _Recorded(Values):
    """Like `Values`, but objects of allowed classes become records."""

    most_work = _MANY

    def __init__(
        self,
        objects: Objects,
        read: Callable[[str], Tensor],
        inner: Callable[[bytes], Any] | None,
        swapped: bool,
    ) -> None:
        super().__init__(read, inner, swapped)
        self.objects = objects

    def _called(self, call: Call, depth: int) -> Any:
        name, arguments = made(call)
        if not self.objects.allows(name):
            return super()._called(call, depth)
        fields = fields_of(call)
        plain = tuple(self.plain(item, depth) for item in arguments)
        items = {str(key): self.plain(item, depth) for key, item in fields.items()}
        items |= {str(key): self.plain(item, depth) for key, item in call.pairs}
        return Record(name, plain, items)


@contextmanager
def open_records(path: str | Path, names: tuple[str, ...]) -> Iterator[Any]:
    """Open a file of `torch.save` or a plain pickle that holds objects of known classes.

    Tensors are `Leaf`s that can be read as long as the context lasts. Whatever a name means, nothing is
    imported or called; names that are neither data nor listed are refused.

    Example:
        >>> import torch, tempfile
        >>> file = Path(tempfile.mkdtemp()) / "x.pt"
        >>> torch.save({"epoch": 3, "w": torch.ones(2)}, file)
        >>> with open_records(file, ()) as content:
        ...     content["epoch"], content["w"].load()
        (3, tensor([1., 1.]))

    Args:
        path: The file.
        names: Classes that may stand in it, see `Objects`.

    Raises:
        FileError: It is missing, damaged, of another format, or names a class that is not listed.
    """
    from weightatlas.weights.files.sniff import kind_of
    from weightatlas.weights.files.torch_file import read_torch_stream, read_torch_zip
    from weightatlas.weights.files.zip_file import open_zip

    path, objects = Path(path), Objects(names, _MANY)
    kind = kind_of(path)
    with ExitStack() as stack:
        if kind == "zip":
            archive = stack.enter_context(open_zip(path))
            if not any(name == "data.pkl" or name.endswith("/data.pkl") for name in archive.names):
                raise FileError(f"{path} is a zip, but not a file of torch.save.")
            yield read_torch_zip(archive, objects)[0]
        elif kind == "pickle":
            file = stack.enter_context(path.open("rb"))
            yield read_torch_stream(path, file, path.stat().st_size, objects)[0]
        else:
            raise FileError(f"{path} is a {kind} file, not one of torch.save.")


def plain_value(value: Any, depth: int = 0) -> Any:
    """Unwrap settings that were kept as objects: OmegaConf containers, data classes, paths.

    Example:
        >>> node = Record("omegaconf.nodes.AnyNode", (), {"_val": 3})
        >>> plain_value(Record("omegaconf.dictconfig.DictConfig", (), {"_content": {"layers": node}}))
        {'layers': 3}

    Args:
        value: Content of `open_records`.
        depth: How deep it stands.
    """
    if depth > 20:
        return None
    if isinstance(value, dict):
        return {key: plain_value(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [plain_value(item, depth + 1) for item in value]
    if not isinstance(value, Record):
        return None if isinstance(value, Opaque) else value
    if value.name.startswith("pathlib."):
        parts = [str(part) for part in value.arguments]
        return "/".join(parts).replace("//", "/")
    for inner in ("_content", "_val"):
        if inner in value.fields:
            return plain_value(value.fields[inner], depth + 1)
    fields = {key: item for key, item in value.fields.items() if not key.startswith("_")}
    return plain_value(fields, depth + 1)
