"""`bench cnn_park`: the rows of same_zoo on networks of several layouts, with reasons for dashes."""

from pathlib import Path

from tests.conftest import Park
from weightatlas.evaluate.protocols.cnn_park import CnnParkConfig, cnn_park
from weightatlas.evaluate.protocols.registry import check_settings, settings_of
from weightatlas.evaluate.protocols.same_zoo import units_of


def test_every_method_has_a_row_and_one_that_refuses_says_why(park: Park, tmp_path: Path) -> None:
    given = {"recipe": str(park.recipe), "methods": ("deep_sets", "dws", "nfn_np"), "statistics": ()}
    records = cnn_park("smoke", tmp_path / "r.json", (0,), park.cache, **given)
    assert {record.bench for record in records} == {"cnn_park"}
    refused = {record.method: record.note for record in records if record.note}
    assert set(refused) == {"dws", "nfn_np"}
    assert all("works on one layout, these networks have" in reason for reason in refused.values())
    assert any(r.method == "deep_sets" and r.metric == "R2 test accuracy" for r in records)


def test_all_tiers_name_all_methods_once() -> None:
    for tier in ("smoke", "laptop", "paper"):
        check_settings("cnn_park", tier, {})
        methods = [unit.method for unit in units_of(settings_of("cnn_park", tier, CnnParkConfig, {}), (0,))]
        assert len(methods) == len(set(methods))
        assert {"sne", "sne linked", "pooled statistics + committee", "mlp", "nft"} <= set(methods)
