"""From the words of the command line to a call of the verb's function."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from weightatlas.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import ValidationError


class WrongUsage(ConfigError):
    """Flags of the command contradict each other or are out of range."""


def call(function: Callable[..., int | None], name: str, words: Sequence[str]) -> int:
    """Parse words by the function's signature and call it.

    The function's docstring is its help: an `Example:` block comes first, then the summary, and
    each argument by its line under `Args:`.

    Args:
        function: The verb; returns an exit code, or none for 0.
        name: The verb as the user typed it.
        words: What follows the verb.

    Raises:
        SystemExit: Wrong usage (2), or help was asked for (0).
        WrongUsage: Flags contradict each other or are out of range.
    """
    import tyro
    from pydantic import ValidationError

    text = inspect.getdoc(function) or ""
    if any(word in ("-h", "--help") for word in words):
        print(example_of(text))

    @wraps(function)
    def bind(*args: Any, **kwargs: Any) -> Callable[[], int | None]:
        return partial(function, *args, **kwargs)

    try:
        bound = tyro.cli(
            bind,
            args=list(words),
            prog=f"weightatlas {name}",
            description=text.split("\n\n", 1)[0],
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    except ValidationError as error:
        raise WrongUsage(_problems(error), todo=f"All flags: weightatlas {name} --help") from None
    return int(bound() or 0)


def _problems(error: "ValidationError") -> str:
    """Say which flags contradict each other or are out of range, a line each."""
    lines = []
    for item in error.errors():
        flag = f"--{'.'.join(map(str, item['loc']))}: " if item["loc"] else ""
        lines.append(flag + item["msg"].removeprefix("Value error, "))
    return "\n  ".join(lines)


def example_of(text: str) -> str:
    """Cut the example out of a docstring, heading included.

    Example:
        >>> print(example_of("Do it.\\n\\nExample:\\n    weightatlas do it\\n\\nArgs:\\n    x: Y."))
        Example:
          weightatlas do it
        <BLANKLINE>
    """
    _, found, rest = text.partition("Example:\n")
    block = rest.split("\n\n", 1)[0] if found else ""
    lines = [f"  {line.strip()}" for line in block.splitlines()]
    return "\n".join(["Example:", *lines, ""]) if lines else ""


def settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Read `key=value` words as settings; values are YAML, dots nest.

    Example:
        >>> settings(["lr=0.1", "sizes=[1, 2]", "fit.steps=3"])
        {'lr': 0.1, 'sizes': [1, 2], 'fit': {'steps': 3}}

    Raises:
        ConfigError: A word has no `=`, or its value is not YAML.
    """
    import yaml

    from weightatlas.errors import gather

    found: dict[str, Any] = {}
    problems = []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            problems.append(f"'{pair}' is not of the form key=value")
            continue
        place = found
        *path, last = key.split(".")
        for part in path:
            place = place.setdefault(part, {})
        try:
            place[last] = yaml.safe_load(value)
        except yaml.YAMLError:
            problems.append(f"the value of '{pair}' is not YAML")
    gather(ConfigError, problems, todo="Write settings as --set key=value.")
    return found


def pairs(words: Sequence[str]) -> dict[str, str]:
    """Read `name=word` words as they are: dots belong to the name.

    Example:
        >>> pairs(["hp.lr=log"])
        {'hp.lr': 'log'}

    Raises:
        WrongUsage: A word has no `=`.
    """
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise WrongUsage(f"'{word}' is not of the form name=word.", todo="For example --kinds hp.lr=log.")
        found[name] = value
    return found
