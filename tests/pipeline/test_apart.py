"""Training on several processes: the same network each time, killed or not, kept by the store, and as good as on one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from pipeline.api import load, plans_of
from pipeline.errors import EdgepressError, RecipeError, TrainingError
from pipeline.run import Done, run
from pipeline.store import Store
from pipeline.task_file import wrap_task
from tests.devices.boards import until
from tests.small_task import Bars

ROOT = Path(__file__).parents[2]
RECIPE = """
schema = 1
name = "bars"
task = "task.py:task"
targets = ["corstone-300"]
stages = ["teach", "distill"]
controls = false
[train]
devices = 2
epochs = 5
batch_size = 16
checkpoint_steps = 2
[teach]
devices = 1
epochs = 3
[audit]
on_weak = "skip"
"""
TASK = """
import time
from pipeline.teacher import Teacher
from tests.small_task import Bars, Net


class Slow(Bars):
    def teachers(self):
        return {"wide": Teacher(lambda: Net(16))}

    def augment(self, sample, seed):
        time.sleep(0.002)
        return super().augment(sample, seed)


task = Slow(samples=120)
"""
BEST_BEFORE_A_KILL = """
import os
import signal
from pathlib import Path

from pipeline.teacher import Teacher
from tests.small_task import Bars, Net

DIED = Path(__file__).with_name("died")


class Dies(Bars):
    def teachers(self):
        return {"wide": Teacher(lambda: Net(16))}

    def score(self, outputs, targets):
        begun = any(DIED.parent.glob("store/scratch/*/checkpoint"))
        if os.environ.get("LOCAL_RANK") == "0" and begun and not DIED.exists():
            DIED.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 0.5 if DIED.exists() else 1.0


task = Dies(samples=120)
"""
OF_DIGITS = """
schema = 1
name = "digits"
task = "pipeline.tasks.digits:task"
targets = ["corstone-300"]
stages = ["teach", "distill"]
controls = false
[teach]
epochs = 2
[audit]
on_weak = "skip"
[distill]
epochs = 3
"""
MAKE = "import sys; from pathlib import Path; from tests.pipeline.test_apart import make; make(Path(sys.argv[1]), sys.argv[2])"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "task.py").write_text(TASK, encoding="utf-8")
    return tmp_path


def make(folder: Path, store: str, *settings: str) -> dict[str, Done]:
    """Make a recipe's steps and return them by name."""
    loaded, task = load(folder / "recipe.toml", settings=settings, targets=[])
    [(_, plan)] = plans_of(loaded, task)[:1]
    made = run(plan, task, Store(folder / store), seed=loaded.seed, name="x", watch=lambda _step, _progress: None)
    return {done.step.name: done for done in made}


@pytest.mark.timeout(900)
def test_two_processes_make_the_same_network_each_time_killed_or_not(folder: Path) -> None:
    once = make(folder, "once")["distill"]
    again = make(folder, "once")["distill"]

    assert (once.cached, again.cached) == (False, True)
    assert once.artifact.facts["validation_score"] > 0.8
    assert once.artifact.facts["steps"] == 5 * 8

    temporary = folder / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    command = [sys.executable, "-c", MAKE, str(folder), "killed"]
    with subprocess.Popen(command, env=environment) as training:
        scratch = folder / "killed" / "scratch"
        assert until(lambda: len(_ranks(folder / "killed")) == 2 and any(scratch.glob("*/checkpoint")), seconds=300)
        # The first checkpoint lies inside an epoch, where each rank has a sum of its own.
        training.send_signal(signal.SIGKILL)
    assert until(lambda: not _ranks(folder / "killed"))
    assert not any(temporary.glob("*edgepress*"))

    resumed = make(folder, "killed")["distill"]
    assert (resumed.cached, resumed.artifact.digest) == (False, once.artifact.digest)
    assert not any((folder / "killed" / "scratch").iterdir())


def _ranks(store: Path) -> list[int]:
    """Return the processes of a training whose artifact goes to a store."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            job = next((Path(word.decode()) for word in words if word.endswith(b"job.json")), None)
            if job and str(store.absolute()) in json.loads(job.read_text(encoding="utf-8"))["out"]:
                found.append(int(process.name))
        except (OSError, ValueError):
            continue
    return found


@pytest.mark.timeout(600)
def test_weights_that_were_best_before_a_kill_are_taken_over_tensor_by_tensor(folder: Path) -> None:
    (folder / "task.py").write_text(BEST_BEFORE_A_KILL, encoding="utf-8")
    with pytest.raises(TrainingError, match=r"process 0 .* signal 9"):
        make(folder, "store")

    resumed = make(folder, "store")["distill"].artifact.facts
    assert (resumed["validation_score"], resumed["best_epoch"]) == (1.0, 0)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ("raise ValueError('no such bar')", EdgepressError, r"no such bar"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            TrainingError,
            r"process [01] .* signal 9: .*continues",
        ),
    ],
    ids=["raises", "dies"],
)
def test_a_process_that_fails_ends_the_others_and_says_why(folder: Path, code: str, kind: Any, said: str) -> None:
    fails = f"    def augment(self, sample, seed):\n        import os\n        if 'LOCAL_RANK' in os.environ:\n            {code}\n"
    (folder / "task.py").write_text(TASK.replace("    def augment(self, sample, seed):\n", fails), encoding="utf-8")

    with pytest.raises(kind, match=said):
        make(folder, "store")
    assert not _ranks(folder / "store")
    assert not any((folder / "store" / "objects").glob("draft-*"))


def test_a_task_that_was_given_as_an_object_can_t_be_shared(folder: Path) -> None:
    loaded, _ = load(folder / "recipe.toml", settings=[], targets=[])
    task = wrap_task(Bars())
    [(_, plan)] = plans_of(loaded, task)

    with pytest.raises(RecipeError, match="name it in a recipe"):
        list(run(plan, task, Store(folder / "store"), seed=0, name="x", watch=lambda _step, _progress: None))


def test_train_sets_every_training_and_takes_nothing_else(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"\[train\]: unknown key 'keep_macs'"):
        make(folder, "store", "train.keep_macs=0.5")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_processes_are_as_good_as_one_within_the_spread_of_seeds(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(OF_DIGITS, encoding="utf-8")
    scores: dict[int, list[float]] = {1: [], 2: []}
    for devices, found in scores.items():
        for seed in range(4):
            made = make(tmp_path, "store", f"train.devices={devices}", f"seed={seed}")
            found.append(made["distill"].artifact.facts["validation_score"])
    print(scores)

    assert abs(mean(scores[1]) - mean(scores[2])) <= 2 * max(map(stdev, scores.values()))
