"""Constructor arguments in scikit-learn's manner: read, changed, and copied without the fit."""

import inspect
from typing import Any, Self

from weightatlas.errors import ConfigError


class Adjustable:
    """Estimators that keep each constructor argument under its own name.

    Example:
        >>> class Constant(Adjustable):
        ...     def __init__(self, value=1):
        ...         self.value = value
        >>> Constant().set_params(value=3).get_params()
        {'value': 3}
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments."""
        names = list(inspect.signature(type(self).__init__).parameters)[1:]
        return {name: getattr(self, name) for name in names}

    def set_params(self, **params: Any) -> Self:
        """Change constructor arguments; refit afterwards.

        Raises:
            ConfigError: There is no such argument.
        """
        for name, value in params.items():
            if name not in self.get_params():
                known = ", ".join(self.get_params())
                raise ConfigError(f"{type(self).__name__} has no setting '{name}'.", todo=f"Known: {known}.")
            setattr(self, name, value)
        return self

    def __sklearn_clone__(self) -> Self:
        """Copy without the fit; an encoder is shared, not copied."""
        return type(self)(**self.get_params())
