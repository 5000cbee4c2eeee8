"""Every table shows baselines as baselines, and says what its rows differ in."""

import io

import pytest
from rich.console import Console

from tests.test_results import record
from weightatlas.errors import ConfigError
from weightatlas.results import refusal
from weightatlas.tables import table, to_markdown


def test_table_marks_baselines_and_dims_published_rows() -> None:
    rows = [record(kind="published", value=31.9), record(kind="baseline", method="mean"), record()]
    grid = table(rows)
    assert grid.row_count == 3
    assert [row.style for row in grid.rows] == ["", "", "dim"]
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(grid)
    text = console.export_text()
    assert text.index("CSB ") < text.index("mean (baseline)") < text.index("CSB (published)")
    assert "split by lineage" in text


def test_rows_say_what_differs() -> None:
    text = to_markdown([record(), record(zoo="cifar10", split="network")])
    assert "| CSB · digits · lineage | 0.500 |" in text
    assert "| CSB · cifar10 · network | 0.500 |" in text
    assert "split by lineage and network" in text


def test_columns_can_be_the_zoo() -> None:
    text = to_markdown([record(), record(zoo="cifar10", value=0.25)], columns="zoo")
    assert "| method | digits | cifar10 |" in text
    assert "| CSB | 0.500 | 0.250 |" in text
    with pytest.raises(ConfigError, match="no field 'zooo'"):
        to_markdown([record()], columns="zooo")


def test_captions_tell_rows_of_one_seed_from_means() -> None:
    three, one = record(seeds=(0, 1, 2), spread=0.1), record(method="baseline once")
    assert "over 3 seeds" in to_markdown([three])
    assert "without ±" not in to_markdown([three])
    assert to_markdown([three, one]).endswith("over 3 seeds; without ± one seed")
    assert to_markdown([one]).endswith("one seed")


def test_a_number_without_seeds_does_not_take_the_place_of_the_mean_over_seeds() -> None:
    rows = [record(value=0.25), record(value=0.75, seeds=(1,)), record(value=0.125, seeds=())]
    printed = to_markdown(rows)
    assert "| CSB | 0.500 ± 0.354 |" in printed
    assert "| CSB · no seed | 0.125 |" in printed


def test_a_refused_row_holds_dashes_and_its_reason_stands_below() -> None:
    about = {"bench": "losses", "tier": "smoke", "zoo": "digits", "seeds": (0,)}
    refused = [refusal("works on [one] layout", method=name, **about) for name in ("mlp", "nft")]
    text = to_markdown([refused[0], record(), record(metric="MAE"), refused[1]])
    assert "| method | R2 | MAE |" in text
    assert "| mlp | - | - |" in text
    assert "- mlp, nft: works on [one] layout" in text
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(table([record(), *refused]))
    assert "works on [one] layout" in " ".join(console.export_text().split())  # wrapped below the table
