"""search: errors; what it finds is tested with zoo tree and zoo dedupe."""

from tests.cli.test_compare import write
from tests.cli.test_kin import make_zoo
from tests.relate.small import mlp, networks
from weightatlas.cli import main


def test_another_layout_is_a_named_error(tmp_path, capsys):
    import torch
    from safetensors.torch import save_file

    zoo = make_zoo(tmp_path)
    save_file({"0.weight": torch.ones(3, 2)}, tmp_path / "other.safetensors")
    assert main(["search", zoo, "--like", str(tmp_path / "other.safetensors")]) == 1
    assert "laid out" in capsys.readouterr().err
    same = write(tmp_path / "same.safetensors", networks(mlp(), 1, seed=9)[0])
    assert main(["search", zoo, "--like", same]) == 0
