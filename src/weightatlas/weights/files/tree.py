"""Find the networks in the nested content of a checkpoint."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from weightatlas.weights.files.checkpoint import is_average
from weightatlas.weights.files.leaf import Leaf

DEEPEST = 40
LONGEST_NAME = 1000
MOST_NODES = 1_000_000
MOST_REASONS = 1000
MOST_VISITS = 8
"""How often one container may be met again: content that shares its parts can be exponentially large."""
_OPTIMIZER = re.compile(
    r"optimi[sz]er|(^|_)optims?($|_)|^opts?($|_|\d)|opt_state|scheduler|lr_sched|(^|_)scaler$|exp_avg",
    re.IGNORECASE,
)
_PARAMETER_WORDS = """
    kernel kernels bias biases weight weights w b scale embedding embeddings mean var gamma beta
    moving_mean moving_variance running_mean running_var num_batches_tracked depthwise_kernel pointwise_kernel
    recurrent_kernel coefs intercepts alpha slope cls pos_embedding query_kernel key_kernel value_kernel
"""
_NETWORK_WORDS = """
    actor critic generator discriminator policy value q qf qf1 qf2 q1 q2 vf target student teacher ema model
    net network g d netg netd state_dict model_state_dict actor_target critic_target encoder decoder agent
    module model_ema ema_model net_g net_d gen disc swa params params_ema classifier backbone
"""
_PARAMETERS = frozenset(_PARAMETER_WORDS.split())
_NETWORKS = frozenset(_NETWORK_WORDS.split())
_COLLECTIONS = frozenset(("params", "parameters", "batch_stats", "buffers", "constants", "non_trainable"))


class TooMuch(ValueError):
    """Content that no checkpoint has."""


@dataclass(eq=False)
class Group:
    """The tensors of one network, and the keys that were opened to reach them."""

    opened: tuple[str, ...]
    leaves: dict[str, Leaf]

    @property
    def has_matrix(self) -> bool:
        return any(leaf.floating and len(leaf.shape) > 1 for leaf in self.leaves.values())


@dataclass(eq=False)
class Search:
    """The networks found so far, and every key that belongs to none.

    Args:
        skipped: Key -> why it is in no network.
        held: Whether a container holds a tensor, by identity.
        layers: Whether a container is a layer of a network, by identity.
        visits: How often a container was opened, by identity.
        visited: Containers and values looked at.
        cut: True if the content was too large to look at all of it.
    """

    skipped: dict[str, str] = field(default_factory=dict)
    held: dict[int, bool] = field(default_factory=dict)
    layers: dict[int, bool] = field(default_factory=dict)
    visits: dict[int, int] = field(default_factory=dict)
    visited: int = 0
    cut: bool = False

    def skip(self, path: tuple[str, ...], reason: str) -> None:
        if len(self.skipped) < MOST_REASONS:
            self.skipped[".".join(path) or "everything"] = reason

    def holds(self, node: Any, depth: int = 0) -> bool:
        """Tell whether there is a tensor somewhere in a value."""
        if isinstance(node, Leaf) or not isinstance(node, Mapping | list):
            return isinstance(node, Leaf)
        if id(node) not in self.held:
            self.held[id(node)] = False  # Also the answer for a container inside itself.
            inside = node.values() if isinstance(node, Mapping) else node
            self.held[id(node)] = depth < DEEPEST and any(self.holds(item, depth + 1) for item in inside)
        return self.held[id(node)]

    def find(self, node: Any, path: tuple[str, ...] = ()) -> list[Group]:
        """List the networks in a value."""
        if _is_optimizer(node):
            self.skip(path, "optimizer state")
            return []
        leaves, inner = self._sort(node, path)
        if not inner:
            return [Group(path, leaves)] if leaves else []
        if len(inner) + len(leaves) > 1 and (self.is_one(inner) or set(inner) <= _COLLECTIONS):
            return [Group(path, leaves | self._flat(inner, path))]
        found = [group for key, item in inner.items() for group in self.find(item, (*path, key))]
        largest = max((len(group.leaves) for group in found), default=0)
        if len(leaves) > largest:
            for group in found:
                self.skip(group.opened, "tensors beside the network")
            return [Group(path, leaves)]
        for key in leaves:
            self.skip((*path, key), "a tensor beside the network")
        return found

    def is_one(self, inner: Mapping[str, Any]) -> bool:
        """Tell whether containers are the layers of one network rather than several networks."""
        known = {key.lower() for key in inner}
        return known.isdisjoint(_NETWORKS) and all(self.is_layer(item) for item in inner.values())

    def is_layer(self, node: Any, depth: int = 0) -> bool:
        """Tell whether a container is a layer: parameters with plain names, or pairs of tensors."""
        if isinstance(node, Leaf):
            return True
        if id(node) not in self.layers:
            self.layers[id(node)] = False
            entries = _entries(node)
            inner = [item for _, item in entries if isinstance(item, Mapping | list)]
            names = {key for key, item in entries if isinstance(item, Leaf)}
            plain = all(name.lower() in _PARAMETERS or name.isdigit() for name in names)
            plain = len(names) <= 2 if isinstance(node, list) else plain
            fits = plain and depth < DEEPEST and all(self.is_layer(item, depth + 1) for item in inner)
            self.layers[id(node)] = fits
        return self.layers[id(node)]

    def _sort(self, node: Any, path: tuple[str, ...]) -> tuple[dict[str, Leaf], dict[str, Any]]:
        """Split the entries of a container into tensors and containers with tensors; note the rest."""
        leaves: dict[str, Leaf] = {}
        inner: dict[str, Any] = {}
        self.visits[id(node)] = self.visits.get(id(node), 0) + 1
        if self.visits[id(node)] > MOST_VISITS:
            self.cut = True
            return leaves, inner
        for key, item in _entries(node):
            self.visited += 1
            if self.visited > MOST_NODES or len(path) > DEEPEST:
                self.cut = True
                break
            if isinstance(item, Leaf):
                leaves[key] = item
            elif not self.holds(item):
                self.skip(
                    (*path, key),
                    "optimizer state" if _is_optimizer(item) else f"not a tensor ({kind_of_value(item)})",
                )
            elif _OPTIMIZER.search(key) and isinstance(node, Mapping):
                self.skip((*path, key), "optimizer state")
            else:
                inner[key] = item
        return leaves, inner

    def _flat(self, node: Any, path: tuple[str, ...], prefix: str = "") -> dict[str, Leaf]:
        """Join the keys of nested tensors with dots; the names of collections are left out."""
        leaves, inner = self._sort(node, path)
        found = {prefix + key: leaf for key, leaf in leaves.items()}
        for key, item in inner.items():
            silent = not prefix and key in _COLLECTIONS
            below = self._flat(item, (*path, key), prefix if silent else f"{prefix}{key}.")
            clash = found.keys() & below.keys()
            found |= {f"{key}.{name}" if name in clash else name: leaf for name, leaf in below.items()}
        return found


def networks_in(content: Any) -> tuple[list[tuple[str, Group]], dict[str, str], bool]:
    """Find all networks in the content of a checkpoint, whatever they are wrapped in.

    Containers are opened until tensors are reached. Nested parameter groups without dots in their names are
    one network, several dictionaries of tensors are several. Optimizer states are left out.

    Example:
        >>> leaf = Leaf((2, 2), "float32", lambda: None)
        >>> weights = {"0.weight": leaf}
        >>> found, skipped, _ = networks_in({"actor": weights, "critic": weights, "step": 3})
        >>> [name for name, _ in found], skipped
        (['actor', 'critic'], {'step': 'not a tensor (int)'})

    Args:
        content: Nested dictionaries and lists with `Leaf` at the tensors.

    Returns:
        Networks by name (empty if there is one), moving averages last; key -> reason for everything left out;
        and whether the content was too large to look at all of it.

    Raises:
        TooMuch: A name is too long to be one.
    """
    search = Search()
    groups = search.find(content) if isinstance(content, Mapping | list) else []
    if any(group.has_matrix for group in groups):
        for group in groups:
            if not group.has_matrix:
                search.skip(group.opened, "tensors beside the networks (no matrix among them)")
        groups = [group for group in groups if group.has_matrix]
    groups.sort(key=lambda group: is_average(".".join(group.opened)))
    return list(zip(_names(groups), groups, strict=True)), search.skipped, search.cut


def _entries(node: Any) -> list[tuple[str, Any]]:
    pairs = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    entries = [(str(key), item) for key, item in pairs]
    longest = max((len(key) for key, _ in entries), default=0)
    if longest > LONGEST_NAME:
        raise TooMuch(f"A name has {longest:,} characters.")
    return entries


def kind_of_value(item: Any) -> str:
    """Name what a value is, for messages."""
    return getattr(item, "kind", None) or type(item).__name__


def _is_optimizer(node: Any) -> bool:
    return isinstance(node, Mapping) and "param_groups" in node


def _names(groups: list[Group]) -> list[str]:
    """Name each network by the keys that tell it from the others."""
    if len(groups) < 2:
        return [""] * len(groups)
    paths = [list(group.opened) for group in groups]
    while all(len(path) > 1 for path in paths) and len({path[0] for path in paths}) == 1:
        paths = [path[1:] for path in paths]
    while all(len(path) > 1 for path in paths) and len({tuple(path[:-1]) for path in paths}) == len(paths):
        paths = [path[:-1] for path in paths]
    return [".".join(path) for path in paths]
