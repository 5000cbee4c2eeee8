"""compare."""

import json

from safetensors.torch import save_file

from tests.relate.small import drifted, mlp, networks
from weightatlas.cli import main
from weightatlas.relate.family import permuted, pruned
from weightatlas.weights.vector import to_state_dict


def write(path, vector):
    save_file({name: value.clone() for name, value in to_state_dict(vector, mlp()).items()}, path)
    return str(path)


def test_files_are_compared(tmp_path, capsys):
    base, other = networks(mlp(), 2)
    child = permuted(pruned(drifted(base)[None], mlp(), [0.5]), mlp())[0]
    paths = [write(tmp_path / f"{i}.safetensors", v) for i, v in enumerate((base, child, other))]
    assert main(["compare", paths[0], paths[1], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "permuted + fine-tuned + pruned"
    assert found["direction"] == "first to second"
    assert main(["compare", paths[0], paths[2]]) == 0
    assert "independent" in capsys.readouterr().out
    assert main(["compare", paths[0], str(tmp_path / "missing.pt")]) == 1


def test_options_without_an_architecture_are_refused(capsys):
    assert main(["compare", "a.pt", "b.pt", "--set", "hidden=[3]"]) == 2
    assert "--network" in capsys.readouterr().err
