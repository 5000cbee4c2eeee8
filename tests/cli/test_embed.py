"""embed."""

from safetensors.torch import load_file

from weightatlas.cli import main


def test_one_row_per_network_beside_its_id(zoo, run, tmp_path):
    out = tmp_path / "e.safetensors"
    assert main(["embed", str(run), str(zoo), "--out", str(out)]) == 0
    embeddings = load_file(out)["embeddings"]
    assert embeddings.shape == (48, 28)
    assert len(out.with_suffix(".csv").read_text(encoding="utf-8").splitlines()) == 49


def test_a_dry_run_writes_nothing(zoo, run, tmp_path):
    words = ["--out", str(tmp_path / "e.safetensors"), "--part", "train", "--dry-run"]
    assert main(["embed", str(run), str(zoo), *words]) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_encoder_is_a_named_error(zoo, tmp_path, capsys):
    assert main(["embed", str(tmp_path), str(zoo), "--out", str(tmp_path / "e.safetensors")]) == 1
    assert "does not hold an encoder" in capsys.readouterr().err
