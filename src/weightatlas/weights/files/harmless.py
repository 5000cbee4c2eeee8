"""Names that may stand in a checkpoint: those that make data, and classes of objects that are looked through.

Nothing on this list is imported or called either: see `pickle_machine`.
"""

import sys

_LISTED = """
    collections.OrderedDict collections.Counter collections.defaultdict collections.deque
    builtins.set builtins.frozenset builtins.list builtins.dict builtins.tuple builtins.complex builtins.slice
    builtins.range builtins.int builtins.float builtins.str builtins.bool builtins.bytes builtins.bytearray
    builtins.object _codecs.encode copyreg._reconstructor copyreg.__newobj__ types.SimpleNamespace typing.Any
    argparse.Namespace uuid.UUID decimal.Decimal fractions.Fraction easydict.EasyDict yacs.config.CfgNode
    addict.addict.Dict mmcv.utils.config.ConfigDict mmengine.config.config.ConfigDict
    numpy.ndarray numpy.dtype numpy.random.RandomState
    torch.Size torch.device torch.Tensor torch.nn.parameter.Parameter torch.nn.parameter.Buffer
    torch.torch_version.TorchVersion torch.Generator torch.serialization._get_layout
    torch.storage._load_from_bytes torch._tensor._rebuild_from_type_v2
"""
_NAMES = frozenset(_LISTED.split())
_STARTS = (
    "torch._utils._rebuild_",
    "numpy.core.multiarray.",
    "numpy._core.multiarray.",
    "numpy.core.numeric.",
    "numpy._core.numeric.",
    "numpy.random._pickle.",
    "numpy.random._mt19937.",
    "numpy.random._pcg64.",
    "numpy.dtypes.",
    "ml_dtypes.",
)
_PACKAGES = (
    "pathlib.",
    "datetime.",
    "omegaconf.",
    "ml_collections.",
    "pytorch_lightning.",
    "lightning.",
    "lightning_fabric.",
    "lightning_utilities.",
    "gym.spaces.",
    "gymnasium.spaces.",
)
_OLD = {"__builtin__": "builtins", "copy_reg": "copyreg", "torch.tensor": "torch._tensor"}
_NUMBERS = """
    float qint quint uint int bfloat16 half double long short bool complex
    per_tensor_ per_channel_ strided sparse_ contiguous_format channels_last preserve_format
"""
_TYPES = tuple(_NUMBERS.split())
_DEVICES = ("torch", "torch.cuda", "torch.storage", "torch.xpu", "torch.mps")


_BESIDE = """
    functools.partial logging.Logger logging.getLogger re._compile random.Random itertools.count io.BytesIO
    _io.BytesIO time.struct_time torch.nn.backends.thnn._get_thnn_function_backend
"""
_STANDARD = frozenset(_BESIDE.split())
"""Names beside modules of networks that would do no harm if they were called."""


def usual(name: str) -> str:
    """Give a name its present form: `__builtin__.set` of Python 2 is `builtins.set`."""
    room, _, last = name.rpartition(".")
    return f"{_OLD.get(room, room)}.{last}"


def is_harmless(name: str) -> bool:
    """Tell whether a name stands for data: a container, an array, a tensor, a storage, a setting.

    Example:
        >>> is_harmless("torch._utils._rebuild_tensor_v2"), is_harmless("posix.system")
        (True, False)
    """
    name = usual(name)
    room, _, last = name.rpartition(".")
    if name in _NAMES or name.startswith(_PACKAGES):
        return True
    if any(name.startswith(start) and "." not in name[len(start) :] for start in _STARTS):
        return True
    return is_storage(name) or (room == "torch" and last.startswith(_TYPES))


def is_storage(name: str) -> bool:
    """Tell whether a name is one of torch's storage classes, on whatever device."""
    room, _, last = name.rpartition(".")
    return last.endswith("Storage") and room in (
        "torch",
        "torch.cuda",
        "torch.storage",
        "torch.xpu",
        "torch.mps",
    )


def is_object(name: str, called: bool) -> bool:
    """Tell whether a name may be the class of an object, or a function that is kept and not called.

    Names of Python's own library are no such names, with few exceptions: files that mean harm use them.

    Example:
        >>> is_object("models.yolo.Detect", called=True), is_object("torch.nn.functional.relu", called=False)
        (True, True)
        >>> is_object("posix.system", called=True), is_object("pip.main", called=True)
        (False, False)

    Args:
        name: A name that is not `is_harmless`.
        called: Whether the pickle calls it, as it does with functions and with some classes.
    """
    if name in _STANDARD:
        return True
    if name.partition(".")[0] in sys.stdlib_module_names:
        return False
    return not called or name.rpartition(".")[2].lstrip("_")[:1].isupper()
