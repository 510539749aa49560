"""Several whole runs of one recipe, started at once on one store: each step is made by one of them and found by the others."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.evidence.trust import whole_runs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
MADE = re.compile(r"^(\S+) +(cached|[\d.]+ s) +[0-9a-f]{12}$", re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    whole_runs.write(tmp_path / "recipe", epochs=3)
    return tmp_path


def start(folder: Path, name: str) -> subprocess.Popen[str]:
    """Start a run that delivers into a folder of its own."""
    command = whole_runs.command(folder / "recipe", folder / name)
    environment = whole_runs.environment(folder / "store")
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("count", [2, 4, 8])
def test_runs_at_once_make_each_step_once(folder: Path, count: int) -> None:
    running = [start(folder, f"out-{number}") for number in range(count)]
    told = [process.communicate()[1] for process in running]

    assert [process.returncode for process in running] == [0] * count, told
    steps = [dict(MADE.findall(text)) for text in told]
    makers = Counter(step for run in steps for step, how in run.items() if how != "cached")
    assert len(makers) >= 20
    assert set(makers) == set(steps[0])
    assert set(makers.values()) == {1}
    made = {tuple(whole_runs.digests(folder / "store", folder / f"out-{number}").items()) for number in range(count)}
    assert len(made) == 1
    assert whole_runs.corrupt(folder / "store") == []


def test_a_run_loses_nothing_to_a_collection_beside_it(folder: Path) -> None:
    """Collect all the time, with no days kept: what a run makes and finds is in use."""
    running = start(folder, "out")
    collected = 0
    while running.poll() is None:
        gc = [whole_runs.EDGEPRESS, "gc", "--keep-days", "0"]
        collected += (
            subprocess.run(gc, env=whole_runs.environment(folder / "store"), capture_output=True, check=True).returncode
            + 1
        )
    told = running.communicate()[1]

    assert running.returncode == 0, told
    assert collected >= 5
    assert whole_runs.corrupt(folder / "store") == []
    again = start(folder, "again")
    assert {how for _, how in MADE.findall(again.communicate()[1])} == {"cached"}
