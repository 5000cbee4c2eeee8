"""`bench netspace_shapes`: rows beside baselines, paths, pictures; nothing measured twice."""

import math
from pathlib import Path

import pytest
import torch

from weightatlas.errors import ConfigError, DataError
from weightatlas.evaluate.protocols import netspace_shapes as module
from weightatlas.evaluate.protocols.field_scores import told
from weightatlas.evaluate.protocols.field_stage import slope_error
from weightatlas.evaluate.protocols.netspace_shapes import netspace_shapes
from weightatlas.tasks import create_task
from weightatlas.tasks.shapes import cube
from weightatlas.zoo import fields

TRIVIAL = ("mean network", "mean shape", "PCA of weights", "nearest by weights", "nearest shape")
OURS = (
    "signal space",
    "signal space, refined",
    "netspace, trained",
    "netspace, trained and refined",
    "implicit",
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("shapes")
    return folder, netspace_shapes("smoke", folder / "r.json", (0,), pictures=True)


def test_rows_stand_beside_their_baselines(measured) -> None:
    _, found = measured
    named = {(r.method, r.metric): r for r in found}
    assert all(named[name, "likeness"].kind == "ours" for name in OURS)
    assert all(named[name, "likeness"].kind == "baseline" for name in (*TRIVIAL, "random subspace, refined"))
    assert all(math.isfinite(r.value) and r.value >= 0 for r in found if r.metric.startswith("likeness"))
    assert named["nearest shape", "likeness"].value >= named["nearest by weights", "likeness"].value
    assert named["signal space, refined", "likeness"].value > named["mean network", "likeness"].value
    assert named["raw weights", "path slope error"].kind == "baseline"
    for name in ("signal space, refined", "netspace, trained", "implicit", "nearest by weights"):
        assert named[name, "nearest shape@1"].value <= named[name, "nearest shape@5"].value
        assert 0 <= named[name, "class accuracy"].value <= 1


def test_pictures_and_meshes_are_beside_the_results(measured) -> None:
    folder, _ = measured
    assert (
        folder / "figures" / "netspace_shapes-smoke-primitives-netspace-trained.png"
    ).stat().st_size > 1000
    meshes = sorted(path.name for path in (folder / "figures" / "meshes").iterdir())
    assert "netspace_shapes-smoke-primitives-netspace-trained-raw_weights-0.ply" in meshes


def test_a_second_run_measures_nothing(measured, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, found = measured
    monkeypatch.setattr(module, "field_stage", lambda *_: pytest.fail("measured again"))
    assert netspace_shapes("smoke", folder / "r.json", (0,)) == found


def test_images_have_rows_of_their_own(tmp_path: Path) -> None:
    found = netspace_shapes(
        "smoke",
        tmp_path / "r.json",
        (0,),
        recipe="digit_images",
        pictures=True,
        methods=["signal space, refined"],
    )
    named = {(r.method, r.metric): r.value for r in found}
    assert named["signal space, refined", "likeness"] > named["mean network", "likeness"]
    assert (tmp_path / "figures" / "netspace_shapes-smoke-digit_images-signal_space-refined.png").exists()


def test_images_of_any_source_are_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "create_task", lambda _: create_task("digits"))  # in the place of MNIST
    rows = ["signal space, refined", "implicit"]
    found = netspace_shapes("smoke", tmp_path / "r.json", (0,), recipe="mnist_inrs", methods=rows)
    named = {(r.method, r.metric): r.value for r in found}
    assert named["nearest shape", "likeness"] >= named["nearest by weights", "likeness"]
    assert ("raw weights", "path slope error") not in named  # slopes of distances mean nothing for images
    assert 0 <= named["implicit", "class accuracy, linear"] <= 1
    assert 0 < named["majority", "class accuracy"] < 1


def test_classes_are_told_by_embeddings_that_hold_them() -> None:
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(40) % 2
    points = torch.randn(40, 6, generator=generator) + 4 * classes[:, None]
    assert told(points[:20], classes[:20], points[20:], classes[20:]) == 1
    assert told(points[:20], classes[:20], torch.zeros(20, 6) - 4, classes[20:]) == 0.5


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no row 'signals'"):
        netspace_shapes("smoke", tmp_path / "r.json", (0,), methods=["signals"])
    monkeypatch.delenv("WEIGHTATLAS_DATA", raising=False)
    with pytest.raises(DataError, match="WEIGHTATLAS_DATA"):
        netspace_shapes("smoke", tmp_path / "r.json", (0,), recipe="chairs")


def test_slopes_of_distances_are_one() -> None:
    ball = (cube(24).norm(dim=1) - 0.5).view(1, 24, 24, 24)
    assert float(slope_error(ball)) < 0.02
    assert float(slope_error(3 * ball, band=0.3)) == pytest.approx(2.0, abs=0.1)
    assert float(slope_error(ball + 5)) == 1.0
    assert slope_error(torch.cat([ball, ball + 5])).shape == (2,)
