"""The same search ends at the same point: run again, with two workers, on a cluster, killed in the middle; and with boards that die."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devices import set_up
from tests.devices.boards import Line, SshBoard, ssh_board, until
from tests.small_search import command, environment, fit, found, write

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
BUDGET = {"max_drop": 0.9, "size_kib": 4.2}
TRIALS = 6


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a search in one process finds."""
    folder = tmp_path_factory.mktemp("alone")
    write(folder, several=TRIALS, **BUDGET)
    ended = fit(folder)
    assert ended.returncode == 0, ended.stderr
    return found(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, several=TRIALS, **BUDGET)
    return tmp_path


def test_a_search_run_again_from_nothing_finds_the_same(folder: Path, alone: dict[str, Any]) -> None:
    assert len(alone["trials"]) == TRIALS
    assert fit(folder).returncode == 0
    assert found(folder) == alone


def test_two_workers_find_what_one_finds(folder: Path, alone: dict[str, Any]) -> None:
    ended = fit(folder, "--workers", "2")

    assert ended.returncode == 0, ended.stderr
    assert "2 trials on 2 workers" in ended.stderr
    assert found(folder) == alone


def test_a_search_that_is_killed_goes_on_and_makes_no_trial_twice(folder: Path, alone: dict[str, Any]) -> None:
    with subprocess.Popen(command(), cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True) as search:
        assert search.stderr is not None
        for line in search.stderr:
            if line.startswith("trial 2:"):
                break
        time.sleep(2)
        search.send_signal(signal.SIGKILL)
    finished = {path.name: path.stat().st_ino for path in (folder / "store" / "runs").glob("*.json")}

    ended = fit(folder)

    assert ended.returncode == 0, ended.stderr
    assert found(folder) == alone
    now = {path.name: path.stat().st_ino for path in (folder / "store" / "runs").glob("*.json")}
    assert finished.items() <= now.items()
    assert [trial["seconds"] for trial in _trials(folder)[:3]] == [0.0] * 3
    assert any(trial["seconds"] > 0 for trial in _trials(folder)[3:])


def _trials(folder: Path) -> list[dict[str, Any]]:
    trials: list[dict[str, Any]] = json.loads((folder / "out" / "fit.json").read_text(encoding="utf-8"))["trials"]
    return trials


@pytest.fixture
def cluster() -> Iterator[str]:
    """A Ray cluster of two nodes with a core each, on this machine; its address."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        nodes.add_node(num_cpus=1)
        nodes.wait_for_nodes()
        yield nodes.address
    finally:
        nodes.shutdown()


def workers_at_work() -> list[int]:
    """Return the processes of Ray that make a trial now."""
    found = subprocess.run(["pgrep", "-f", "^ray::make_anywhere"], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def test_a_cluster_whose_worker_is_killed_finds_what_one_process_finds(
    folder: Path, alone: dict[str, Any], cluster: str
) -> None:
    options = command("--cluster", cluster)
    with subprocess.Popen(options, cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True) as search:
        until(lambda: len(workers_at_work()) == 2, seconds=300)
        time.sleep(10)
        os.kill(workers_at_work()[0], signal.SIGKILL)
        _, said = search.communicate()

    assert search.returncode == 0, said
    assert "2 trials on 2 workers" in said
    assert found(folder) == alone


@pytest.fixture
def boards(tmp_path: Path) -> Iterator[tuple[SshBoard, SshBoard]]:
    """Two boards whose Python is emulated, and who note when it starts and ends."""
    set_up("qemu", print)
    with ssh_board(tmp_path / "one") as one, ssh_board(tmp_path / "two") as two:
        yield one, two


def test_boards_of_a_pool_are_leased_and_a_dead_one_is_told_while_the_search_ends(
    folder: Path, boards: tuple[SshBoard, SshBoard], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRESS_LEASES", str(folder / "leases"))
    logs = [folder / f"{name}.log" for name in ("dying", "well")]
    dying, well = boards
    pythons = [board.arm_python(log) for board, log in zip(boards, logs, strict=True)]
    line = Line(dying.port)
    specs = f"{dying.spec(port=line.port, python=pythons[0])},{well.spec(python=pythons[1])}"
    options = (
        "--target",
        "raspberry-pi-4",
        "--device",
        f"raspberry-pi-4=pool:{specs}",
        "--workers",
        "2",
        "--trials",
        "3",
    )

    def dies() -> None:
        until(lambda: logs[0].exists() and logs[0].read_text(encoding="utf-8").count("end") > 2, seconds=1800)
        line.close()
        line.cut()

    threading.Thread(target=dies, daemon=True).start()
    ended = fit(folder, *options, "--set", "measure=false", seconds=3000)

    assert ended.returncode == 0, ended.stderr
    [out] = found(folder)["boards_taken_out"]
    assert out["board"] == f"ssh://127.0.0.1:{line.port}"
    assert f"{out['board']} was taken out of its pool" in ended.stderr
    assert [len(trial["fitness"]) for trial in found(folder)["trials"]] == [1] * 3
    told = [line.split() for line in logs[1].read_text(encoding="utf-8").splitlines()]
    assert [word for word, _ in sorted(told, key=lambda each: float(each[1]))] == ["start", "end"] * (len(told) // 2)
