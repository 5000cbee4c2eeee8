"""Ray and submitit on this machine: every task once, named errors cross, no death goes unnoticed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from weightatlas import clusters, runtime
from weightatlas.errors import ConfigError, RunError
from weightatlas.executors import Executor, ProcessExecutor, create_executor


def double(number: int) -> tuple[int, int]:
    return 2 * number, os.getpid()


def budget(_: int) -> tuple[float, str]:
    return runtime.memory_budget(), os.getcwd()


def fail(number: int) -> int:
    raise ConfigError(f"Number {number}.", where="Here.", todo="Stop.")


def die_once(marker: str) -> str:
    """Kill the own process, but only the first time."""
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


@pytest.fixture(scope="module")
def ray_executor() -> Iterator[Executor]:
    """A local cluster of two workers, started once."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    here = str(Path(__file__).parent.parent)
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": here}},
    )
    yield create_executor("ray", workers=2)
    ray.shutdown()


@pytest.fixture
def slurm_executor(tmp_path: Path) -> Executor:
    """Jobs of submitit as local processes."""
    pytest.importorskip("submitit")
    return create_executor("slurm", cluster="local", folder=tmp_path / "jobs", workers=2, timeout_min=5)


@pytest.mark.filterwarnings("ignore")
def test_ray_does_every_task_and_survives_a_dead_worker(
    ray_executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = list(ray_executor.map(double, range(4)))
    assert sorted(value for value, _ in found) == [0, 2, 4, 6]
    assert os.getpid() not in {pid for _, pid in found}
    with pytest.raises(ConfigError, match="Number"):
        list(ray_executor.map(fail, [1]))
    assert list(ray_executor.map(die_once, [str(tmp_path / "marker")])) == ["done"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(runtime.MEMORY, "77")  # after the cluster was started
    assert list(ray_executor.map(budget, [0])) == [(77.0, str(tmp_path))]


def test_slurm_does_every_task_and_names_a_dead_job(slurm_executor: Executor, tmp_path: Path) -> None:
    found = list(slurm_executor.map(double, range(2)))
    assert sorted(value for value, _ in found) == [0, 2]
    assert os.getpid() not in {pid for _, pid in found}
    with pytest.raises(ConfigError, match="Number"):
        list(slurm_executor.map(fail, [1]))
    with pytest.raises(RunError, match="ended without a result"):
        list(slurm_executor.map(die_once, [str(tmp_path / "marker")]))


def test_jobs_that_still_run_are_cancelled_when_the_work_ends_early() -> None:
    def start(result: Callable[[int], int]) -> tuple[Iterator[int], list[int]]:
        cancelled: list[int] = []
        return clusters._in_flight(
            range(5), 3, int, lambda jobs: [jobs[0]], result, cancel=cancelled.append
        ), cancelled

    everything, cancelled = start(int)
    assert (list(everything), cancelled) == ([0, 1, 2, 3, 4], [])
    stopped, cancelled = start(int)
    assert [next(stopped), next(stopped)] == [0, 1]
    stopped.close()  # type: ignore[attr-defined]
    assert cancelled == [2, 3]
    failing, cancelled = start(fail)
    with pytest.raises(ConfigError):
        next(failing)
    assert cancelled == [1, 2]


def test_a_dead_worker_process_is_named(tmp_path: Path) -> None:
    from joblib.externals.loky import get_reusable_executor

    try:
        with pytest.raises(RunError, match="worker process died"):
            list(ProcessExecutor(2).map(die_once, [str(tmp_path / "marker")] * 2))
        assert list(ProcessExecutor(2).map(die_once, [str(tmp_path / "marker")])) == ["done"]
    finally:
        get_reusable_executor().shutdown(wait=True)


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(ConfigError, match="submitit refuses"):
        create_executor("slurm", cluster="local", folder=tmp_path, nonsense=1)


def test_clusters_are_not_imported_before_they_are_asked_for() -> None:
    code = "import sys, weightatlas.clusters; assert not {'ray', 'submitit'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
