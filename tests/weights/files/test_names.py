"""Names: what wrappers add goes, what tells tensors apart stays."""

import pytest

from weightatlas.weights.files.names import counters_beside, short_names


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (["0.weight", "0.bias"], ["0.weight", "0.bias"]),
        (["w", "b"], ["w", "b"]),
        (["module.w", "module.b"], ["w", "b"]),
        (["module.0.weight", "module.2.weight"], ["0.weight", "2.weight"]),
        (["model._orig_mod.a.w", "model._orig_mod.b.w"], ["a.w", "b.w"]),
        (["net.fc.weight", "net.fc.bias"], ["fc.weight", "fc.bias"]),
        (["module.a.w", "head.w"], ["module.a.w", "head.w"]),
        (["a._orig_mod.w", "a.w"], ["_orig_mod.w", "w"]),
        (["net.cls", "net.0.w"], ["cls", "0.w"]),
        ([], []),
    ],
)
def test_short_names(keys, names):
    found, prefix = short_names(keys)
    assert found == names
    assert len(set(found)) == len(found)
    assert all(key.endswith(name.split(".")[-1]) for key, name in zip(keys, found, strict=True))
    assert not prefix or prefix.endswith(".")


def test_counters_of_averaging_wrappers():
    assert counters_beside(["n_averaged", "module.0.weight"]) == ["n_averaged"]
    assert counters_beside(["step", "a.w", "b.w"]) == []
    assert counters_beside(["n_averaged", "w"]) == []
