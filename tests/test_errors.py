"""Messages: what, where, what to do; all problems at once."""

import pytest

from weightatlas.errors import ConfigError, SpecError, WeightAtlasError, gather


def test_a_message_has_three_lines():
    error = SpecError("'a' has shape (1,).", where="In x.pt.", todo="Import it.")
    assert str(error) == "'a' has shape (1,).\n  In x.pt.\n  Import it."
    assert (error.what, error.where, error.todo) == ("'a' has shape (1,).", "In x.pt.", "Import it.")


def test_empty_lines_are_left_out():
    assert str(ConfigError("wrong", todo="mend it")) == "wrong\n  mend it"


def test_gather_lists_every_problem_at_once():
    with pytest.raises(ConfigError) as caught:
        gather(ConfigError, ["a is missing", "b is unknown"], where="In c.yaml.")
    assert str(caught.value) == "2 problems:\n  - a is missing\n  - b is unknown\n  In c.yaml."


def test_gather_of_one_problem_is_that_problem_and_of_none_is_nothing():
    gather(SpecError, [])
    with pytest.raises(WeightAtlasError, match=r"^a is missing$"):
        gather(SpecError, ["a is missing"])
