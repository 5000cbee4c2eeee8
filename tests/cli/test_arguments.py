"""From words to calls."""

from typing import Annotated

import pytest
import tyro
from pydantic import BaseModel, model_validator

from weightatlas.cli.arguments import WrongUsage, call, example_of, settings
from weightatlas.errors import ConfigError


class Range(BaseModel):
    low: int = 0
    high: int = 1

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if self.low >= self.high:
            raise ValueError("low must lie below high")
        return self


def verb(count: int, quiet: bool = False) -> int:
    """Count.

    Example:
        weightatlas verb --count 3

    Args:
        count: How far.
        quiet: Say nothing.
    """
    return count + 10 * quiet


def test_words_become_arguments_and_the_result_is_the_exit_code():
    assert call(verb, "verb", ["--count", "3", "--quiet"]) == 13


def test_no_result_is_success():
    assert call(lambda: None, "verb", []) == 0


def test_help_prints_the_example_first(capsys):
    with pytest.raises(SystemExit) as caught:
        call(verb, "verb", ["--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("Example:\n  weightatlas verb --count 3\n")


def test_contradicting_flags_are_wrong_usage_but_errors_inside_are_not():
    def train(span: Annotated[Range, tyro.conf.arg(name="")]) -> None:
        Range(low=span.high, high=0)

    with pytest.raises(WrongUsage, match="low must lie below high"):
        call(train, "verb", ["--low", "3"])
    with pytest.raises(ValueError, match="validation error"):
        call(train, "verb", [])


def test_a_docstring_without_example_has_none():
    assert example_of("Just do it.") == ""


def test_settings_nest_and_are_typed():
    found = settings(["grid.lr=[0.1, 0.2]", "name=a=b", "on=true", "none=null"])
    assert found == {"grid": {"lr": [0.1, 0.2]}, "name": "a=b", "on": True, "none": None}


def test_bad_settings_are_listed_together():
    with pytest.raises(ConfigError, match="2 problems"):
        settings(["lr", "sizes=[1,"])
