"""`bench layerwise`: three ways to weigh layers, the same networks and steps."""

import pytest
import torch

from weightatlas.errors import ConfigError
from weightatlas.evaluate.compression import mean_network
from weightatlas.evaluate.protocols.layerwise import WAYS, layer_errors, layerwise
from weightatlas.results import Record


@pytest.fixture(scope="module")
def records(there, cache, tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return layerwise("smoke", tmp_path_factory.mktemp("layerwise") / "r.json", (0,), cache)


def test_every_way_stands_beside_the_mean_network(records, there):
    ours = {r.method for r in records if r.kind == "ours"}
    assert ours == {f"normalize {way}" for way in WAYS}
    for method in ours:
        found = {r.metric: r.value for r in records if r.method == method}
        errors = [found[f"error of layer {place}"] for place in range(len(there.spec.layers))]
        assert (min(errors), max(errors)) == (
            found["error of the best layer"],
            found["error of the worst layer"],
        )
        assert {"accuracy after 0", "accuracy after 1", "agreement"} <= set(found)
    values = {r.method: r.value for r in records if r.metric == "error of layer 0"}
    assert len(set(values.values())) == 4


def test_the_mean_of_the_same_networks_has_error_one_in_every_layer(there):
    true = there.test_values
    errors = layer_errors(true, mean_network(true, len(true)).weights, there.spec)
    torch.testing.assert_close(errors, torch.ones_like(errors), rtol=1e-4, atol=0)
    assert float(layer_errors(true, true, there.spec).max()) == 0
    first = true.clone()
    first[:, there.spec.slices[there.spec.tensors[0].name]] = 0
    changed = layer_errors(true, first, there.spec)
    assert float(changed[0]) > 0
    assert float(changed[1:].max()) == 0


def test_other_encoders_are_refused(there, tmp_path, cache):
    with pytest.raises(ConfigError, match="has no such units"):
        layerwise("smoke", tmp_path / "r.json", (0,), cache, preset="sane_small")
