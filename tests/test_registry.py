"""Names to factories, with did-you-mean."""

import pytest

from weightatlas.errors import ConfigError
from weightatlas.registry import Registry


@pytest.fixture
def shapes() -> Registry:
    registry = Registry("shape")

    @registry.register("square")
    def square(side: int) -> int:
        return side * side

    @registry.register("broken")
    def broken() -> int:
        raise TypeError("inside")

    return registry


def test_create_and_list(shapes):
    assert shapes.create("square", side=3) == 9
    assert shapes.names() == ["broken", "square"]
    assert shapes.names("s*") == ["square"]


def test_an_unknown_name_suggests_the_nearest(shapes):
    with pytest.raises(ConfigError, match="no shape called 'sqare'") as caught:
        shapes.get("sqare")
    assert caught.value.where == "Did you mean 'square'?"
    assert caught.value.todo == "Known: broken, square."


def test_wrong_arguments_are_named(shapes):
    with pytest.raises(ConfigError, match="'square' refuses its arguments"):
        shapes.create("square", edge=3)


def test_errors_inside_a_factory_are_not_disguised(shapes):
    with pytest.raises(TypeError, match="inside"):
        shapes.create("broken")


def test_a_name_is_given_once(shapes):
    with pytest.raises(ConfigError, match="registered twice"):
        shapes.register("square")(lambda: 0)
