"""Names for things users choose by name: register, create, list."""

from collections.abc import Callable
from difflib import get_close_matches
from fnmatch import fnmatch
from typing import Any, Generic, TypeVar

from weightatlas.errors import ConfigError

T = TypeVar("T")
Factory = TypeVar("Factory", bound=Callable[..., Any])


class Registry(Generic[T]):
    """A table from names to factories that suggests the nearest name on a miss.

    Example:
        >>> shapes = Registry("shape")
        >>> @shapes.register("square")
        ... def square(side: int) -> str:
        ...     return "#" * side
        >>> shapes.create("square", side=3)
        '###'
        >>> shapes.names("s*")
        ['square']

    Args:
        kind: What the entries are, in the words of the user ("encoder").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Callable[..., T]] = {}

    def register(self, name: str) -> Callable[[Factory], Factory]:
        """Return a decorator that files a factory under `name`."""

        def decorate(factory: Factory) -> Factory:
            if name in self._entries:
                raise ConfigError(f"The {self.kind} '{name}' is registered twice.")
            self._entries[name] = factory
            return factory

        return decorate

    def get(self, name: str) -> Callable[..., T]:
        """Return the factory of `name`.

        Raises:
            ConfigError: The name is unknown; the nearest ones are suggested.
        """
        if name in self._entries:
            return self._entries[name]
        near = get_close_matches(name, self._entries, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else ""
        known = f"Known: {', '.join(sorted(self._entries))}."
        raise ConfigError(f"There is no {self.kind} called '{name}'.", where=hint, todo=known)

    def create(self, name: str, **arguments: Any) -> T:
        """Call the factory of `name`."""
        factory = self.get(name)
        try:
            return factory(**arguments)
        except TypeError as error:
            if "argument" in str(error):
                raise ConfigError(f"The {self.kind} '{name}' refuses its arguments: {error}.") from error
            raise

    def names(self, pattern: str = "*") -> list[str]:
        """List the known names that match a shell pattern, sorted."""
        return sorted(name for name in self._entries if fnmatch(name, pattern))
