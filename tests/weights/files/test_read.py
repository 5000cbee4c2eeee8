"""Every file of a mixed folder is read or refused by name, and a damaged one never does worse."""

import json
import os
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers

from tests.weights.files import collection
from tests.weights.files.fuzz import Fuzz
from weightatlas.errors import FileError
from weightatlas.weights.files import find_checkpoints, read_checkpoint


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder, what must be read, what must be refused, and the folder that harmful files would make."""
    folder = tmp_path_factory.mktemp("mixed")
    trap = tmp_path_factory.mktemp("trap") / "executed"
    good = collection.good_files(folder)
    return folder, good, collection.bad_files(folder, trap), trap


def outcome(path):
    """Format and networks of a file, or the text of its refusal."""
    try:
        found = read_checkpoint(path)
    except FileError as error:
        return str(error)
    return found.format, {network.name: len(network.tensors) for network in found.networks}


def fits(name, refusal, text):
    return isinstance(text, str) and name in text and re.search(refusal.says, text) is not None


def test_at_least_eighty_files_have_the_outcome_they_must_have(made):
    folder, good, bad, trap = made
    assert len(good) + len(bad) >= 80
    outcomes = {name: outcome(folder / name) for name in {**good, **bad}}
    wanted = {name: (content.format, content.networks) for name, content in good.items()}
    assert {name: outcomes[name] for name in good} == wanted
    wrong = {name: outcomes[name] for name, refusal in bad.items() if not fits(name, refusal, outcomes[name])}
    assert wrong == {}
    assert not trap.exists()


def test_values_are_those_that_were_written(made):
    folder = made[0]
    state = collection.state()
    same = [
        "plain.pt",
        "old_wrapped.ckpt",
        "numpy_inside.pt",
        "plain.safetensors",
        "small.npz",
        "named.h5",
        "arrays.pkl",
    ]
    for name in same:
        (network,) = read_checkpoint(folder / name).networks
        assert set(network.tensors) == set(state), name
        assert all(torch.equal(network.tensors[key], value) for key, value in state.items()), name


def test_the_walk_finds_every_good_file_and_says_why_the_others_are_left_out(made):
    folder, good, _, _ = made
    found = {entry.path.name: entry for entry in find_checkpoints(folder)}
    offered = {name for name, entry in found.items() if not entry.skipped}
    parts = {file.name for entry in found.values() if not entry.skipped for file in entry.files}
    assert set(good) <= parts
    assert "model-00002-of-00002.safetensors" not in offered, "it belongs to the index"
    assert found["page.pt"].skipped.startswith("is a web page")
    assert all(
        found[name].skipped for name in ("loop_a.pt", "pipe.pt", "pointer.pt", "empty.pt", "settings.json")
    )


def test_averages_stand_behind_the_network_and_others_must_be_named(made):
    folder = made[0]
    assert read_checkpoint(folder / "averages.pt").network.name == "model"
    with pytest.raises(FileError, match=r"2 networks(.|\n)*G \(.*D \("):
        _ = read_checkpoint(folder / "gan.pt").network


def test_the_report_names_what_was_opened_renamed_tied_and_left_out(made):
    folder = made[0]
    found = read_checkpoint(folder / "wrapped.ckpt")
    assert found.network.opened == ("model_state_dict",)
    assert found.report.skipped["optimizer"] == "optimizer state"
    assert found.report.skipped["args"] == "not a tensor (argparse.Namespace)"
    parallel = read_checkpoint(folder / "parallel.pt").network
    assert ("module._orig_mod.0.weight", "0.weight") in parallel.renamed
    assert read_checkpoint(folder / "lightning.ckpt").network.prefix == "model."
    tied = read_checkpoint(folder / "tied.pt")
    assert tied.network.ties == (("encoder.weight", "decoder.weight"),)
    assert tied.network.params == 60
    assert any("Tied" in note for note in tied.report.notes)
    assert read_checkpoint(folder / "ppo.zip").report.metadata == {"stable_baselines3": "2.3.0"}


def test_number_types_float32_cannot_hold_are_lossy_and_all_others_are_not(tmp_path):
    values = torch.linspace(-1, 1, 7, dtype=torch.float64) / 3
    kinds = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn]
    state = {str(kind): values.to(kind) for kind in kinds}
    state["q"] = collection.quantized(values.float().reshape(7, 1))
    torch.save(state, tmp_path / "a.pt")
    (network,) = read_checkpoint(tmp_path / "a.pt").networks
    assert set(network.lossy) == {"torch.float64", "q"}
    assert network.lossy["torch.float64"] == float((values - values.float().double()).abs().max())
    for kind in kinds:
        kept = network.tensors[str(kind)]
        assert kept.dtype == kind
        assert kept.float().to(kind).equal(kept) == (kind != torch.float64)
    assert torch.equal(network.tensors["q"], state["q"].dequantize())
    assert network.restore(network.tensors)["torch.float16"].equal(state["torch.float16"])


def test_tensors_can_be_asked_for_under_the_names_of_a_module(tmp_path):
    state = {f"model.net.{key}": value for key, value in collection.state().items()}
    torch.save(state, tmp_path / "a.pt")
    network = read_checkpoint(tmp_path / "a.pt").network
    assert "0.weight" in network.tensors
    for prefix in ("", "net.", "model.net.", "other."):
        wanted = [prefix + key for key in collection.state()]
        assert list(network.under(wanted)) == wanted


def test_half_of_a_shard_or_a_lie_of_the_index_is_named(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2, 2)}, tmp_path / "m-00001-of-00001.safetensors")
    index = {"weight_map": {"a": "m-00001-of-00001.safetensors", "b": "m-00001-of-00001.safetensors"}}
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(FileError, match="'b' should be in m-00001"):
        read_checkpoint(tmp_path)


def test_a_link_to_a_folder_above_does_not_trap_the_walk(tmp_path):
    (tmp_path / "inner").mkdir()
    torch.save({"w": torch.ones(2, 2)}, tmp_path / "inner" / "a.pt")
    os.symlink(tmp_path, tmp_path / "inner" / "up")
    os.symlink(tmp_path / "inner" / "a.pt", tmp_path / "inner" / "b.pt")
    found = {entry.path.name: entry.skipped for entry in find_checkpoints(tmp_path)}
    again = f"the same file as {tmp_path / 'inner' / 'a.pt'}"
    assert found == {"a.pt": "", "b.pt": again, "up": "a link to a folder"}


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory):
    return Fuzz(tmp_path_factory.mktemp("fuzz"), seed=5, slow_share=0.0)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(number=integers(0, 1 << 40))
def test_damaged_files_end_in_a_named_error_or_are_read(fuzz, number):
    """A short run of tests/fuzz_readers.py: every format, a few hundred damaged files."""
    assert fuzz.read(*fuzz.damaged(number)).split(":")[0] in ("read", "refused")
    assert not fuzz.trap.exists()


def test_damage_is_sometimes_harmless_and_often_not(fuzz):
    outcomes = [fuzz.read(*fuzz.damaged(number)) for number in range(40)]
    assert 0 < sum(outcome == "read" for outcome in outcomes) < 40


def test_damaged_hdf5_files_cannot_take_the_process_along(made, tmp_path):
    data = (made[0] / "whole.h5").read_bytes()
    path = Path(tmp_path / "a.h5")
    for place in (8, 96, 600):
        broken = bytearray(data)
        broken[place : place + 4] = b"\xff\xfe\xfd\xfc"
        path.write_bytes(broken)
        found = outcome(path)
        assert isinstance(found, tuple) or "a.h5" in found
