"""The judge of rebuilt networks: perfect rebuilds, permuted ones, broken ones, and what it keeps."""

import torch

from tests.evaluate.protocols.netspace import smoke
from weightatlas.evaluate.protocols.netspace_judge import Judge
from weightatlas.evaluate.protocols.netspace_reconstruct import single
from weightatlas.evaluate.protocols.point_tables import kept_points
from weightatlas.symmetry.permutation import permute, sample


def judge(cache, out=None) -> Judge:
    there = smoke("netspace_digits", cache)
    return Judge(there, single(there, "batched"), "b", out=out)


def numbers(judge: Judge, networks: torch.Tensor) -> dict[str, float]:
    return {r.metric: r.value for r in judge.rebuilt(networks, "same", "ours", {"further": 3.0})}


def test_a_perfect_rebuild_has_no_gap_and_no_distance(netspace_cache) -> None:
    one = judge(netspace_cache)
    found = numbers(one, one.field.parts["test"])
    assert found["accuracy gap"] == found["weight distance"] == 0
    assert found["R2 accuracy"] == found["excess agreement"] == 1
    assert found["further"] == 3


def test_the_order_of_neurons_is_no_distance(netspace_cache) -> None:
    one = judge(netspace_cache)
    test, spec = one.field.parts["test"], one.field.spec
    turned = permute(test, sample(spec, len(test), torch.Generator().manual_seed(0)), spec)
    assert numbers(one, turned)["weight distance"] < 1e-6
    assert abs(numbers(one, torch.zeros_like(test))["weight distance"] - 1) < 1e-6


def test_a_network_that_is_not_finite_has_no_distance(netspace_cache) -> None:
    one = judge(netspace_cache)
    broken = one.field.parts["test"].clone()
    broken[0, 0] = torch.nan
    found = numbers(one, broken)
    assert "weight distance" not in found
    assert found["accuracy gap"] > 0


def test_points_and_images_are_kept_beside_the_results(netspace_cache, tmp_path) -> None:
    one = judge(netspace_cache, tmp_path / "r.json")
    test = one.field.parts["test"]
    one.rebuilt(test, "same", "ours")
    one.walked(test[:, None].repeat(1, 3, 1), (test, test), torch.linspace(0, 1, 3), "still", "ours")
    one.drawn(test, "net, space")
    columns, accuracies = kept_points(tmp_path / "r-accuracies.csv")
    assert columns == ["original", "rebuilt"]
    assert (accuracies["same"][:, 0] == accuracies["same"][:, 1]).all()
    columns, paths = kept_points(tmp_path / "r-paths.csv")
    assert [float(column) for column in columns] == [0, 0.5, 1]
    assert (accuracies["same"][:, :1] == paths["still"]).all()
    lowest = f"weak: accuracy {accuracies['same'].min():.2f}, rebuilt {accuracies['same'].min():.2f}"
    assert lowest in (tmp_path / "r-preps-net-space.svg").read_text()
