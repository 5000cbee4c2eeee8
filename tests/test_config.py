"""Settings: frozen, typed, unknown keys refused, YAML in and out."""

import pytest
from pydantic import ValidationError

from weightatlas.config import Config, read_yaml
from weightatlas.errors import ConfigError, FileError


class Inner(Config):
    rate: float = 0.1


class Outer(Config):
    steps: int
    inner: Inner = Inner()
    sizes: tuple[int, ...] = (1, 2)


def test_yaml_round_trip(tmp_path):
    path = tmp_path / "a.yaml"
    config = Outer(steps=3, inner=Inner(rate=0.5), sizes=(4,))
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert Outer.from_yaml(path) == config


def test_every_problem_is_listed_with_the_nearest_key():
    with pytest.raises(ConfigError) as caught:
        Outer.build({"step": 3, "inner": {"rate": "fast"}}, where="In a.yaml.")
    text = str(caught.value)
    assert "3 problems" in text
    assert "'steps' is required" in text
    assert "unknown key 'step'; did you mean 'steps'?" in text
    assert "'inner.rate' = 'fast'" in text
    assert "In a.yaml." in text


def test_replace_validates_again_and_leaves_the_original():
    config = Outer(steps=3)
    assert config.replace(steps=4).steps == 4
    assert config.steps == 3
    with pytest.raises(ConfigError, match="steps"):
        config.replace(steps="many")


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Outer(steps=3).steps = 4


@pytest.mark.parametrize(
    ("text", "message"), [("- 1\n", "holds a list"), ("a: [\n", "cannot be read as YAML")]
)
def test_bad_files_are_named(tmp_path, text, message):
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileError, match=message):
        read_yaml(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileError, match="There is no file"):
        read_yaml(tmp_path / "none.yaml")
