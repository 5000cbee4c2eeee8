"""The quickstart in miniature: every chapter is told beside baselines, and a second call trains nothing."""

from dataclasses import replace

import pytest

from weightatlas.errors import ConfigError
from weightatlas.evaluate.protocols.quickstart import SHOWN, run_quickstart
from weightatlas.report.data import ReportData
from weightatlas.report.page import write_report
from weightatlas.report.story import report_of
from weightatlas.results import load_records


def test_the_story_is_whole(tmp_path, monkeypatch):
    story = run_quickstart(tmp_path, "smoke")
    for part in ("predict", "rebuild", "generate"):
        kinds = {record.kind for record in story.records if record.bench == f"quickstart: {part}"}
        assert kinds == {"ours", "baseline"}, part
    methods = {part.method for part in story.rebuilt}
    assert {"activation", "activation, refined", "sane, refined", "fresh network, refined"} <= methods
    (command,) = {record.command for record in load_records(tmp_path / "results.json")}
    assert command == "weightatlas quickstart --tier smoke --seed 0"
    lineages = {part: set(story.stage.part(part).column("lineage")) for part in ("train", "test")}
    assert not lineages["train"] & lineages["test"]

    data = report_of(story, "weightatlas quickstart")
    assert isinstance(data, ReportData)
    assert len(data.headlines) == 3
    assert all(headline.baseline for headline in data.headlines)
    assert [headline.label.partition(": ")[2] for headline in data.headlines] == list(SHOWN.values())
    assert f"generated: {SHOWN['generate']}" in data.accuracies
    # Whoever comes out best on test networks: what is shown was named before.
    lucky = [r.replace(value=9.0) if r.method.startswith("sane") else r for r in story.records]
    shown = report_of(replace(story, records=lucky)).headlines
    assert [(one.label, one.value) for one in shown] == [(one.label, one.value) for one in data.headlines]
    page = write_report(tmp_path / "report.html", data).read_text(encoding="utf-8")
    assert "activation, refined" in page
    assert "http://" not in page.replace("http://www.w3.org", "")

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("weightatlas.zoo.populate.train_shard", refuse)
    for chapter in ("_rebuild", "_generate"):  # they keep nothing and are told anew
        monkeypatch.setattr(f"weightatlas.evaluate.protocols.quickstart.{chapter}", lambda *_: None)
    again = run_quickstart(tmp_path, "smoke")
    one, two = (
        {(r.bench, r.method, r.metric): r.value for r in s.records if "predict" in r.bench}
        for s in (story, again)
    )
    assert one == pytest.approx(two, abs=1e-3)


def test_an_unknown_tier_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no tier 'huge'"):
        run_quickstart(tmp_path, "huge")
