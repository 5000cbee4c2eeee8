"""What verbs are given."""

import torch

from weightatlas.cli import inputs
from weightatlas.encoders.io import from_pretrained


def test_a_run_and_its_encoder_folder_are_the_same(run):
    first, second = inputs.open_encoder(run), inputs.open_encoder(run / "encoder")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert type(first) is type(from_pretrained(run / "encoder"))


def test_parts_add_up(zoo):
    sizes = [len(inputs.open_part(zoo, part)) for part in ("train", "val", "test")]
    assert sum(sizes) == len(inputs.open_part(zoo, "all"))
    assert min(sizes) > 0


def test_written_networks_come_back(zoo, tmp_path):
    part = inputs.open_part(zoo, "test")
    values = part.weights().values[:2]
    from safetensors.torch import load_file

    for path, row in zip(inputs.write_networks(tmp_path, values, part, ["a", "b"]), values, strict=True):
        state = load_file(path)
        joined = torch.cat([state[tensor.name].flatten() for tensor in part.spec.tensors])
        assert torch.equal(joined, row)
