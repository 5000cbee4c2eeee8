"""Settings as frozen pydantic records that read and write YAML."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from weightatlas.errors import ConfigError, FileError, gather


class Config(BaseModel):
    """Base of every setting: frozen, typed, unknown keys refused.

    Example:
        >>> class Fit(Config):
        ...     steps: int = 10
        >>> Fit(steps=3).replace(steps=4).steps
        4
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def build(cls, values: dict[str, Any], *, where: str = "") -> Self:
        """Validate a dictionary and report every problem at once.

        Args:
            values: Keys and values, for example parsed from YAML.
            where: Where the values came from, for the message.

        Raises:
            ConfigError: One line per unknown key, missing key or wrong value.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise problems_of(error, cls, where) from None

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Read settings from a YAML file.

        Raises:
            FileError: The file is missing or is not YAML.
            ConfigError: The file holds unknown keys or wrong values.
        """
        return cls.build(read_yaml(path), where=f"In {path}.")

    def to_yaml(self) -> str:
        """Write all settings, defaults included, as YAML text."""
        return as_yaml(self.model_dump(mode="json"))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some settings changed, validated again."""
        return type(self).build({**self.model_dump(), **changes})


def as_yaml(values: Mapping[str, Any]) -> str:
    """Write a mapping of plain values as YAML text; without PyYAML as JSON, which is YAML too."""
    try:
        import yaml
    except ImportError:
        return json.dumps(dict(values), indent=1, ensure_ascii=False) + "\n"
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping from a file.

    Raises:
        FileError: The file is missing, unreadable, or not a mapping.
    """
    path = Path(path)
    try:
        from yaml import YAMLError as Wrong
        from yaml import safe_load as parse
    except ImportError:
        parse, Wrong = json.loads, json.JSONDecodeError
    try:
        values = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileError(f"There is no file {path}.", todo="Check the path.") from None
    except (OSError, UnicodeDecodeError, Wrong) as error:
        raise FileError(f"{path} cannot be read as YAML.", where=str(error).replace("\n", " ")) from None
    if not isinstance(values, dict):
        raise FileError(f"{path} holds a {type(values).__name__}, not a mapping of settings.")
    return values


def problems_of(error: ValidationError, cls: type[BaseModel], where: str) -> ConfigError:
    """Turn a pydantic error into one `ConfigError` that suggests the nearest known key."""
    from difflib import get_close_matches

    lines = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"]) or cls.__name__
        if item["type"] == "extra_forbidden":
            near = get_close_matches(str(item["loc"][-1]), list(cls.model_fields), n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            lines.append(f"unknown key '{place}'{hint}")
        elif item["type"] == "missing":
            lines.append(f"'{place}' is required")
        else:
            lines.append(f"'{place}' = {item['input']!r}: {item['msg'].removeprefix('Value error, ')}")
    try:
        gather(ConfigError, lines, where=where, todo=f"Known keys: {', '.join(cls.model_fields)}.")
    except ConfigError as gathered:
        return gathered
    raise AssertionError("a validation error without items") from error
