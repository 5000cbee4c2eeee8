"""Names without what wrappers put before them, every change on record."""

from collections.abc import Sequence

_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_forward_module", "_checkpoint_wrapped_module")
_ANYWHERE = _WRAPPERS[1:]
_DEEPEST = 40  # names of modules in a prefix
_COUNTERS = ("n_averaged", "num_updates", "decay", "initted", "step")


def short_names(keys: Sequence[str]) -> tuple[list[str], str]:
    """Remove what all names share and what wrappers of modules add.

    Removed are `module.` (data parallel) where every name starts with it, `_orig_mod.` (compiled) and the
    like anywhere, and a beginning shared by all names if names of layers remain behind it.

    Example:
        >>> short_names(["module.net.0.weight", "module.net.2.weight"])
        (['0.weight', '2.weight'], 'module.net.')

    Args:
        keys: Names of all tensors of one network.

    Returns:
        The new names in the same order, and the beginning that was removed from all of them; the names are
        unchanged where two would become one.
    """
    names = [".".join(part for part in key.split(".") if part not in _ANYWHERE) for key in keys]
    names = names if len(set(names)) == len(names) and all(names) else list(keys)
    prefix = ""
    for _ in range(_DEEPEST):
        first = names[0].partition(".")[0] if names else ""
        rest = [name.partition(".")[2] for name in names if name.partition(".")[0] == first]
        if len(rest) != len(names) or not all(rest) or not _may_go(first, rest):
            return names, prefix
        names, prefix = rest, f"{prefix}{first}."
    return names, prefix


def counters_beside(keys: Sequence[str]) -> list[str]:
    """List the counters that averaging wrappers keep beside their `module.` (or `ema_model.`, ...).

    Example:
        >>> counters_beside(["n_averaged", "module.0.weight", "module.0.bias"])
        ['n_averaged']
    """
    found = [key for key in keys if key in _COUNTERS]
    first = {key.partition(".")[0] for key in keys if key not in _COUNTERS}
    return found if len(first) == 1 and all("." in key for key in keys if key not in _COUNTERS) else []


def _may_go(first: str, rest: Sequence[str]) -> bool:
    """Keep a beginning that is the name of the only layer: `0.weight`, `0.bias`."""
    return first in _WRAPPERS or any("." in name for name in rest)
