"""Heads by name."""

import pytest
import torch

from weightatlas.errors import ConfigError
from weightatlas.predict.heads import fit_head


@pytest.mark.parametrize("name", ["ridge", "boosting", "committee"])
def test_every_head_follows_a_line(name: str) -> None:
    x = torch.linspace(-1, 1, 80).double()[:, None]
    head = fit_head(name, (x, 2 * x), (x[::7], 2 * x[::7]))
    assert head.predict(x).shape == (80, 1)
    assert float((head.predict(x) - 2 * x).abs().mean()) < 0.2


def test_an_unknown_head_is_named() -> None:
    x = torch.ones(3, 1)
    with pytest.raises(ConfigError, match="no head 'forest'"):
        fit_head("forest", (x, x))
