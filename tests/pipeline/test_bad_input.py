"""Bad input through the command line's own door: one line on stderr, exit code 2, no traceback, nothing lost."""

import io
import pickle
import resource
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipeline.cli import main
from tests.small_task import Net

TASK = """
import numpy as np
import torch
from pathlib import Path
from torch import nn
from pipeline import Metric, Splits, Teacher
from tests.small_task import Bars, Net

class Task(Bars):
    def teachers(self):
        return {"wide": Teacher(lambda: Net(16))}

    def loss(self, output, target):
        return nn.functional.cross_entropy(output, target)

task = Task()
"""
RECIPE = """
schema = 1
name = "bars"
task = "my_task.py:task"
targets = ["raspberry-pi-4"]
stages = ["teach", "distill", "quantize", "export"]
[teach]
epochs = 2
"""

Press = Callable[..., str]


@pytest.fixture
def press(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Press:
    """Run `edgepress` on a recipe and a task; return its line on stderr, its exit code checked."""
    monkeypatch.setenv("EDGEPRESS_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)

    def pressed(*arguments: str, recipe: str = RECIPE, task: str = TASK, code: int = 2) -> str:
        (tmp_path / "bars.toml").write_text(recipe, encoding="utf-8")
        (tmp_path / "my_task.py").write_text(task, encoding="utf-8")
        monkeypatch.setattr(sys, "argv", ["edgepress", *(arguments or ("run", "bars.toml"))])
        monkeypatch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as caught:
            main()
        told = capsys.readouterr().err
        assert caught.value.code == code, told
        assert "Traceback" not in told
        return told.strip().splitlines()[-1]

    return pressed


RECIPES = [
    (("run", "nowhere.toml"), {}, "no recipe 'nowhere.toml' (No such file or directory); give a .toml file, or one that ships: digits"),
    ((), {"recipe": "name = "}, "bars.toml is no TOML: "),
    ((), {"recipe": RECIPE + "epoch = 3\n"}, "[teach]: unknown key 'epoch'; did you mean 'epochs'?"),
    ((), {"recipe": "sede = 3\n" + RECIPE}, "unknown key 'sede'; did you mean 'seed'?"),
    ((), {"recipe": "seed = '3'\n" + RECIPE}, "key 'seed': input should be a valid integer; found '3'"),
    (("run", "bars.toml", "--set", "stages=['quantize', 'distill']"), {}, "quantize stands before 'distill', which would train the rounding away"),
    (("run", "bars.toml", "--set", "teach.epochs=many"), {}, "[teach]: key 'epochs': input should be a valid integer; found 'many'"),
    (("run", "bars.toml", "--target", "toaster"), {}, "'toaster'"),
    (("explain", "bars.toml", "--set", "nonsense"), {}, "--set 'nonsense' is no key=value"),
]  # fmt: skip
TASKS = [
    ("raise ValueError('broken')\n", "task file my_task.py raised ValueError: broken (my_task.py:1 in <module>)"),
    ("def f(:\n", "task file my_task.py raised SyntaxError"),
    (TASK.replace("task = Task()", "task = 3"), "task my_task.py:task lacks name, metric, data, student, score"),
    (TASK + "Task.data = lambda self: Splits(self._split(0, 8), self._split(0, 8), self._split(1, 8))\n", "8 inputs stand in both train and validation; splits must not overlap"),
    (TASK + "Task.data = lambda self: Splits(self._split(0, 8), [], self._split(1, 8))\n", "the validation split is empty; give it at least one sample"),
    (TASK + "Task.student = lambda self: nn.Linear(3, 4)\n", "student()(inputs (2, 1, 8, 8)) raised RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
    (TASK + "Task.loss = lambda self, output, target: output\n", "loss() must return one number as a tensor, found a tensor (2, 4)"),
    (TASK.replace("return nn.functional.cross_entropy(output, target)", "return output.sum() * float('nan')"), "nan"),
    (TASK.replace("lambda: Net(16)", "lambda: Net(16), Path('nowhere.pt')"), "nowhere.pt; name a safetensors file or a state dict"),
    (TASK + "Task.score = lambda self, outputs, targets: float('nan')\n", "score() gave nan; it must be a finite number"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "files", "said"), RECIPES)
def test_a_wrong_recipe_is_one_line(press: Press, arguments: tuple[str, ...], files: dict[str, str], said: str) -> None:
    assert said in press(*arguments, **files)


@pytest.mark.parametrize(("task", "said"), TASKS)
def test_a_wrong_task_is_one_line(press: Press, task: str, said: str) -> None:
    assert said in press(task=task)


def test_a_teachers_file_of_another_network_is_one_line(press: Press, tmp_path: Path) -> None:
    torch.save(Net(12).state_dict(), tmp_path / "wide.pt")

    told = press(task=TASK.replace("lambda: Net(16)", "lambda: Net(16), Path('wide.pt')"))

    assert "wide.pt" in told
    assert "features.0.weight" in told


class Hostile:
    """What pickle would run."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (Path("owned"),)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_hostile_pickle_is_one_line_and_is_not_run(press: Press, tmp_path: Path, *, zipped: bool) -> None:
    content = pickle.dumps({"features.0.weight": Hostile()}, protocol=2)
    if zipped:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("wide/data.pkl", content)
            archive.writestr("wide/version", "3")
        content = file.getvalue()
    (tmp_path / "wide.pt").write_bytes(content)

    told = press(task=TASK.replace("lambda: Net(16)", "lambda: Net(16), Path('wide.pt')"))

    assert "wide.pt" in told
    assert not (tmp_path / "owned").exists()


def test_a_full_disk_is_one_line_and_keeps_what_was_made(press: Press, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        told = press()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert "File too large" in told
    assert "free space there, or move the store, and run again: it continues from the last one" in told
    assert list((tmp_path / "store" / "objects").iterdir()) == []
    assert list((tmp_path / "store" / "runs").iterdir()) == []


def test_ctrl_c_is_one_line_and_the_next_run_goes_on(press: Press, tmp_path: Path) -> None:
    told = press(task=TASK + STOPPING, code=130)

    assert told == "edgepress: interrupted in teach:wide, epoch 1 of 2; the same command goes on from there"
    assert len(list((tmp_path / "store" / "scratch").iterdir())) == 1
    assert list((tmp_path / "store" / "scratch").glob("*/*")) != []


STOPPING = """
import signal
Task.calls = 0
def stop(self, output, target):
    Task.calls += 1
    if Task.calls == 4:
        signal.raise_signal(signal.SIGINT)
    return nn.functional.cross_entropy(output, target)
Task.loss = stop
"""
