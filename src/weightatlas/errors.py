"""The few exceptions a user may want to catch.

Each message has up to three lines: what is wrong with the user's own names and
numbers, where it is, and what to do about it.
"""


class WeightAtlasError(Exception):
    """Base of every error weightatlas raises on purpose.

    Example:
        >>> print(WeightAtlasError("Zoo has 0 networks.", where="In runs/zoo.", todo="Populate it first."))
        Zoo has 0 networks.
          In runs/zoo.
          Populate it first.

    Args:
        what: What is wrong, with the user's own names and numbers.
        where: The file, row or setting it was found in.
        todo: What the user can do now.
    """

    def __init__(self, what: str, *, where: str = "", todo: str = "") -> None:
        self.what, self.where, self.todo = what, where, todo
        super().__init__("\n  ".join(line for line in (what, where, todo) if line))


class SpecError(WeightAtlasError):
    """Weights do not fit the spec: a tensor is missing, unexpected or has another shape."""


class ConfigError(WeightAtlasError):
    """A setting is unknown, has the wrong type or contradicts another one."""


class DataError(WeightAtlasError):
    """Input data are missing, not finite, or not of the promised shape."""


class FileError(WeightAtlasError):
    """A file is damaged, truncated, unsafe to read, or cannot be written."""


class ZooError(WeightAtlasError):
    """A zoo is empty, inconsistent, or lacks what was asked of it."""


class NoCode(WeightAtlasError):
    """Networks of a spec must be executed, but no code for them is known."""


class RunError(WeightAtlasError):
    """A run folder cannot be resumed or does not hold what was asked of it."""


def gather(kind: type[WeightAtlasError], problems: list[str], *, where: str = "", todo: str = "") -> None:
    """Raise one error that lists all problems, or return if there are none.

    Example:
        >>> gather(ConfigError, [])

    Args:
        kind: The error class to raise.
        problems: One sentence per problem, already found.
        where: The file or setting that holds them.
        todo: What the user can do now.

    Raises:
        WeightAtlasError: `kind`, if there is at least one problem.
    """
    if not problems:
        return
    head = problems[0] if len(problems) == 1 else f"{len(problems)} problems:\n  - " + "\n  - ".join(problems)
    raise kind(head, where=where, todo=todo)
