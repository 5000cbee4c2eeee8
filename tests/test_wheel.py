"""The built wheel works outside the checkout, without network."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Build the wheel and lay its content into a folder, as `pip install --target` does."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, capture_output=True, timeout=120, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "target")
    return folder / "target"


def shell(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess:
    """Run Python outside the checkout with nothing but the wheel's content for weightatlas."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("WEIGHTATLAS_DATA", None)
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=200
    )


def test_the_wheel_holds_the_package_and_nothing_else(installed):
    tops = {path.name for path in installed.iterdir()}
    assert {name.split("-")[0] for name in tops} == {"weightatlas"}
    files = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    sources = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.py")}
    assert sources <= files
    assert "weightatlas/report/template.html" in files
    assert "weightatlas/presets/zoos/digits.yaml" in files
    (entry,) = installed.glob("*.dist-info/entry_points.txt")
    assert "weightatlas = weightatlas.cli:main" in entry.read_text(encoding="utf-8")


def test_the_wheel_is_what_runs(installed, tmp_path):
    done = shell(installed, tmp_path, "-c", "import weightatlas; print(weightatlas.__file__)")
    assert done.stdout.startswith(str(installed))


def test_verbs_run_outside_the_checkout(installed, tmp_path):
    words = ("-m", "weightatlas", "zoo", "populate", "digits", "--tier", "smoke", "--out", "zoo", "--dry-run")
    done = shell(installed, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert "2,758" in done.stdout


def test_the_smoke_quickstart_runs_outside_the_checkout(installed, tmp_path):
    words = ("-m", "weightatlas", "quickstart", "--tier", "smoke", "--out", "out")
    done = shell(installed, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    page = tmp_path / "out" / "report.html"
    assert str(page.relative_to(tmp_path)) in done.stdout
    assert "<svg" in page.read_text(encoding="utf-8")
    assert "baseline" in done.stdout
