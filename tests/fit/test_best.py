"""The best state is kept, by value and direction of its number."""

import pytest
from torch import nn

from weightatlas.errors import ConfigError
from weightatlas.fit.best import Best


def look(best: Best, values: list[float], name: str) -> nn.Linear:
    module = nn.Linear(1, 1, bias=False)
    for place, value in enumerate(values):
        nn.init.constant_(module.weight, float(place))
        best.look({name: value}, module)
    return module


@pytest.mark.parametrize(("name", "place"), [("val/kendall", 1), ("val/class", 1), ("val/property", 2)])
def test_direction(name: str, place: int):
    best = Best(name, None)
    module = look(best, [0.5, 0.9, 0.1, float("nan")], name)
    best.restore(module)
    assert module.weight.item() == place
    assert not best.stopped


def test_patience_counts_validations_without_a_better_number():
    best = Best("val/kendall", 2)
    look(best, [0.5, 0.4], "val/kendall")
    assert not best.stopped
    again = Best("val/kendall", 2)
    again.load(best.state, best.tensors)
    look(again, [0.45], "val/kendall")
    assert again.stopped
    assert again.value == 0.5


def test_nothing_selected_changes_nothing_and_wrong_names_are_refused():
    best = Best(None, None)
    module = look(best, [1.0, 2.0], "val/loss")
    best.restore(module)
    assert module.weight.item() == 1
    with pytest.raises(ConfigError, match="no validation number 'val/tau'"):
        Best("val/tau", None).look({"val/loss": 1.0}, module)
