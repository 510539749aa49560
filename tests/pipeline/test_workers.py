"""Workers: results in the order of the jobs, whoever does them; a job whose worker is killed is done by another."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pipeline.errors import MissingExtraError, RecipeError, TrainingError, WorkerError
from pipeline.workers import Here, Workers, workers
from tests.devices.boards import until

ROOT = Path(__file__).parents[2]
HIRES = """
from pipeline.workers import workers
from tests.pipeline.test_workers import squared

with workers(2, "") as crew:
    print([found for found, _ in crew.each(squared, [(2, 0.0), (3, 0.0)])])
"""
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""Where another test has loaded JAX into this process, its hook warns of Ray's fork, which becomes another program at once."""


@pytest.fixture(scope="module")
def two() -> Iterator[Workers]:
    with workers(2, "") as crew:
        yield crew


def squared(number: int, seconds: float) -> tuple[int, int]:
    time.sleep(seconds)
    return number * number, os.getpid()


def dies_once(marker: Path) -> str:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done by another"


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fails() -> None:
    raise TrainingError("the loss became nan")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "127.0.0.1:99999999"])
def test_a_cluster_that_isn_t_there_is_one_line_and_soon(address: str) -> None:
    with (
        pytest.raises(WorkerError, match=rf"no Ray cluster answers at '{address}' .*ray start --head"),
        workers(1, address),
    ):
        pass


def test_one_worker_is_this_process() -> None:
    with workers(1, "") as crew:
        assert isinstance(crew, Here)
        assert list(crew.each(squared, [(2, 0.0), (3, 0.0)])) == [(4, os.getpid()), (9, os.getpid())]


def test_several_give_results_in_the_order_of_the_jobs_from_processes_of_their_own(two: Workers) -> None:
    found = list(two.each(squared, [(2, 0.8), (3, 0.0), (4, 0.8), (5, 0.0)]))

    assert two.count == 2
    assert [square for square, _ in found] == [4, 9, 16, 25]
    assert os.getpid() not in {process for _, process in found}
    assert len({process for _, process in found}) == 2


def test_a_job_whose_worker_is_killed_is_done_by_another(two: Workers, tmp_path: Path) -> None:
    assert list(two.each(dies_once, [(tmp_path / "died",)])) == ["done by another"]
    assert (tmp_path / "died").exists()


def test_a_job_that_kills_every_worker_is_one_line(two: Workers) -> None:
    with pytest.raises(WorkerError, match=r"^4 workers died of one job .* fewer --workers"):
        list(two.each(dies, [()]))


def test_an_error_of_ours_comes_back_as_itself(two: Workers) -> None:
    with pytest.raises(TrainingError, match=r"^the loss became nan$"):
        list(two.each(fails, [()]))


def test_what_can_t_be_meant_is_refused() -> None:
    with pytest.raises(RecipeError, match="--workers 0 is none"), workers(0, ""):
        pass
    with pytest.raises(RecipeError, match="give one of the two"), workers(2, "127.0.0.1:6379"):
        pass


@pytest.mark.timeout(300)
def test_a_worker_that_is_killed_while_it_starts_is_replaced() -> None:
    with subprocess.Popen([sys.executable, "-c", HIRES], stdout=subprocess.PIPE, text=True, cwd=ROOT) as hiring:
        assert until(lambda: any(_starting(hiring.pid)), seconds=100)
        for worker in _starting(hiring.pid):
            worker.kill()
        told, _ = hiring.communicate(timeout=200)

    assert (hiring.returncode, told) == (0, "[4, 9]\n")


def _starting(pid: int) -> list[psutil.Process]:
    """Return the workers of a process, which haven't taken their own names yet."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any(word.endswith("default_worker.py") for word in child.cmdline()[1:3]):
                found.append(child)
    return found


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)

    with pytest.raises(MissingExtraError, match=r"edgepress\[scale\]"), workers(2, ""):
        pass
