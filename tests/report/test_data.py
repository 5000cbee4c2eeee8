"""Report data: any kind of array goes in, the same page comes out after saving."""

import json

import numpy as np
import pytest
import torch

from tests.report.sample import full, records
from weightatlas.errors import ConfigError, FileError, RunError
from weightatlas.report import ReportData, Scatter, load_data, of_run, save_data
from weightatlas.report.page import render
from weightatlas.results import append_records


def test_lists_arrays_and_tensors_are_the_same():
    kinds = ([0.25, 0.5], np.array([0.25, 0.5]), torch.tensor([0.25, 0.5], requires_grad=True))
    made = [Scatter(label="a", method="b", true=kind, predicted=kind).true for kind in kinds]  # type: ignore[arg-type]
    assert all(isinstance(array, np.ndarray) and array.dtype == np.float32 for array in made)
    assert all((array == made[0]).all() for array in made)


def test_saved_data_give_the_same_page(tmp_path):
    data = full()
    save_data(tmp_path, data)
    assert render(load_data(tmp_path)) == render(data)


def test_an_empty_report_can_be_saved(tmp_path):
    save_data(tmp_path, ReportData(title="Empty"))
    assert load_data(tmp_path).title == "Empty"


def test_unknown_parts_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'latent'"):
        ReportData.build({"latnt": None})


@pytest.mark.parametrize("name", ["report.json", "report.safetensors"])
def test_damaged_data_are_a_named_error(tmp_path, name):
    save_data(tmp_path, full())
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:100])
    with pytest.raises(FileError, match="cannot be read"):
        load_data(tmp_path)


def test_a_fit_run_is_drawn_from_its_metrics_and_settings(tmp_path):
    counts = {"pass": 7, "seconds": 3.0, "lr": 0.1, "grad_norm": 9.0, "skipped": 0.0, "val/dropped": 0.0}
    lines = [{"step": step, "loss": 1 / (step + 1), "val/loss": 0.5, **counts} for step in range(4)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 4, "lo', "utf-8")
    (tmp_path / "config.yaml").write_text("lr: 0.1\n", "utf-8")
    append_records(tmp_path / "results.json", records())
    data = of_run(tmp_path)
    assert sorted(data.curves[0].lines) == ["loss", "val/loss"]
    assert data.curves[0].x.tolist() == [0, 1, 2, 3]
    assert data.config == {"lr": 0.1}
    assert len(data.records) == 5


def test_a_folder_that_is_no_run_is_a_named_error(tmp_path):
    with pytest.raises(RunError, match="is not a run"):
        of_run(tmp_path)
