"""interpolate."""

import json

import pytest

from weightatlas.cli import main
from weightatlas.zoo import Zoo


def test_the_lines_between_weights_stand_beside_the_path(zoo, run, tmp_path, capsys):
    opened = Zoo.open(zoo)
    names = opened.column("id").tolist()[:2]
    words = [*names, "--points", "3", "--out", str(tmp_path), "--json"]
    assert main(["interpolate", str(run), str(zoo), *words]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["place"] for row in rows] == [0, 0.5, 1]
    true = opened.column("test_acc")[:2]
    assert [rows[0]["weights"], rows[2]["weights"]] == pytest.approx(true.tolist(), abs=1e-4)
    assert len(list(tmp_path.glob("*.safetensors"))) == 3


@pytest.mark.parametrize("points", ["1", "0", "-3"])
def test_a_path_of_fewer_than_two_networks_is_wrong_usage(zoo, run, capsys, points):
    assert main(["interpolate", str(run), str(zoo), "a", "b", "--points", points]) == 2
    assert f"not {points}" in capsys.readouterr().err


def test_an_unknown_network_is_a_named_error(zoo, run, capsys):
    assert main(["interpolate", str(run), str(zoo), "a", "b"]) == 1
    assert "has no network 'a'" in capsys.readouterr().err
