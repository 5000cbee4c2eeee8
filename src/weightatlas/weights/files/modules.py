"""Whole modules inside a pickle, as `torch.save(network)` writes them: their tensors, without their classes.

A pickled module is a class to import and a dictionary of fields. The class is never looked for; of the fields
only parameters, buffers and the modules inside are read, under the names that `state_dict()` would give.
"""

from typing import Any

from weightatlas.weights.files.harmless import is_harmless, usual
from weightatlas.weights.files.leaf import Leaf
from weightatlas.weights.files.pickle_machine import Call, Named
from weightatlas.weights.files.torch_values import Opaque, Values

_MAKERS = ("copyreg._reconstructor", "copyreg.__newobj__")
_MODULE = {"_parameters", "_modules"}
_PERCEPTRON = ("coefs_", "intercepts_")  # scikit-learn's MLPClassifier and MLPRegressor
_DEEP = 8  # containers between an object and the modules in it


class StateDict(dict[str, Leaf]):
    """Tensors of one module under dotted names."""


class Modules(Values):
    """Like `Values`, but of objects of unknown classes the modules in them are kept."""

    modules = False
    """Whether any was found."""

    def _called(self, call: Call, depth: int) -> Any:
        name, arguments = made(call)
        if is_harmless(name):
            return super()._called(call, depth)
        fields = fields_of(call)
        if set(fields) >= _MODULE:
            self.modules = True
            return self._module(fields, depth)
        self.charge(len(fields))
        values = {str(key): self.plain(item, depth) for key, item in (*fields.items(), *call.pairs)}
        values |= {
            f"{place}": self.plain(item, depth) for place, item in enumerate((*arguments, *call.items))
        }
        if all(isinstance(values.get(key), list) for key in _PERCEPTRON):
            return {key: values[key] for key in _PERCEPTRON}
        kept = {key: value for key, value in values.items() if self._holds_module(value)}
        return kept or Opaque(name)

    def _module(self, fields: dict[str, Any], depth: int) -> StateDict:
        found = StateDict()
        for part in ("_parameters", "_buffers"):
            own = self.plain(fields.get(part), depth)
            left = _not_persistent(fields) if part == "_buffers" else set()
            found.update({k: leaf for k, leaf in _items(own) if isinstance(leaf, Leaf) and k not in left})
        for name, inner in _items(self.plain(fields["_modules"], depth)):
            if isinstance(inner, StateDict):
                self.charge(4 * len(inner))
                found.update({f"{name}.{key}": leaf for key, leaf in inner.items()})
        return found

    def _holds_module(self, value: Any, depth: int = 0) -> bool:
        if isinstance(value, StateDict) or depth > _DEEP:
            return isinstance(value, StateDict)
        inside = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
        self.charge(len(inside))
        return any(self._holds_module(item, depth + 1) for item in inside)


def made(call: Call) -> tuple[str, tuple[Any, ...]]:
    """Name the class of an object and what would be passed to it; makers of objects are looked through."""
    name, arguments = usual(call.function.name), call.arguments
    if name in _MAKERS and arguments and isinstance(arguments[0], Named):
        return usual(arguments[0].name), ()
    return name, arguments


def fields_of(call: Call) -> dict[str, Any]:
    """List what would become the attributes of an object."""
    state = call.state
    if isinstance(state, tuple) and len(state) == 2:  # fields, and those in slots
        fits = all(part is None or isinstance(part, dict) for part in state)
        state = {**(state[0] or {}), **(state[1] or {})} if fits else {}
    return state if isinstance(state, dict) else {}


def _not_persistent(fields: dict[str, Any]) -> set[str]:
    """Name the buffers that a state dict does not hold; protocol 2 writes the set as a call."""
    names = fields.get("_non_persistent_buffers_set")
    names = names.arguments[0] if isinstance(names, Call) and names.arguments else names
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def _items(value: Any) -> list[tuple[str, Any]]:
    return [(str(key), item) for key, item in value.items()] if isinstance(value, dict) else []
