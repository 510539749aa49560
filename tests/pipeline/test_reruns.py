"""What an edit of the user's file makes again, with the real stages: no more than depends on it, and all that does."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from pipeline.plan import Plan, plan
from pipeline.recipe import recipe_from
from pipeline.run import explain, run
from pipeline.stage import discover
from pipeline.store import Store
from pipeline.task import LoadedTask
from pipeline.task_file import load_task

TASK = '''"""Which half is brighter?"""
import numpy as np
from torch import nn
from pipeline import Metric, Splits, Teacher

SMOOTHING = 0.1
WIDTH = 4

def split(seed, count=24):
    random = np.random.default_rng(seed)
    return [(random.normal(0, 1, (1, 8, 8)).astype(np.float32), index % 2) for index in range(count)]

def network(width):
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2))

def student_of(width):
    return network(width)

def smoothed(output, target):
    return nn.functional.cross_entropy(output, target, label_smoothing=SMOOTHING)

class Halves:
    name = "halves"
    metric = Metric("accuracy")
    def data(self):
        return Splits(split(0), split(1), split(2))
    def teachers(self):
        return {"wide": Teacher(lambda: network(8))}
    def student(self):
        return student_of(WIDTH)
    def loss(self, output, target):
        return smoothed(output, target)  # with a remark
    def score(self, outputs, targets):
        return float((outputs.argmax(1) == targets).mean())

task = Halves()
'''
TEACHER = {"teach:wide", "teach:wide.test", "teach:wide.train", "teach:wide.validation"}
STUDENT = {"distill", "distill.test"}
BOTH = {"teach:wide", "distill"}
"""What is trained; what it answers is asked again only where the training came out with other bytes."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@cache
def without_files(task: LoadedTask) -> Plan:
    content = {
        "schema": 1,
        "name": "x",
        "task": "t.py:task",
        "targets": ["a"],
        "stages": ["teach", "distill"],
        "controls": False,
    }
    sections: dict[str, dict[str, object]] = {
        name: {"epochs": 1, "batch_size": 8, "views": 1} for name in ("teach", "distill")
    }
    sections["audit"] = {"on_weak": "skip"}
    recipe = recipe_from({**content, **sections}, folder=Path(), where="recipe", stages=tuple(discover()))
    whole = plan(recipe, task, discover(), poured={})
    files = {step.name for step in whole.steps if step.stage.gives in ("onnx", "tflite")}
    return replace(whole, steps=tuple(step for step in whole.steps if not {step.name, *step.inputs.values()} & files))


def edited(folder: Path, before: str = "", after: str = "") -> LoadedTask:
    assert TASK.count(before) == 1 or not before
    (folder / "task.py").write_text(TASK.replace(before, after), encoding="utf-8")
    return load_task("task.py:task", relative_to=folder)


def made(task: LoadedTask, store: Store) -> set[str]:
    """Return the names of the steps that were not in the store."""
    done = run(without_files(task), task, store, seed=0, name="x", watch=lambda _step, _progress: None)
    return {one.step.name for one in done if not one.cached}


EDITS = [
    ("# with a remark", "# with another", set()),
    ('"""Which half is brighter?"""', '"""Left or right?"""\n# and more', set()),
    ("WIDTH = 4", "WIDTH = 5", STUDENT),
    ("return student_of(WIDTH)", "return nn.Sequential(student_of(WIDTH), nn.ReLU())", STUDENT),
    ("def student_of(width):\n    return network(width)", "def student_of(width):\n    return network(width + 1)", STUDENT),
    ("lambda: network(8)", "lambda: network(9)", TEACHER | STUDENT),
    ("SMOOTHING = 0.1", "SMOOTHING = 0.2", BOTH),
    ("label_smoothing=SMOOTHING", "label_smoothing=2 * SMOOTHING", BOTH),
    ("outputs.argmax(1) ==", "outputs.argmax(1) <=", BOTH),
    ("split(0), split(1), split(2)", "split(0), split(1), split(3)", {"teach:wide.test", "distill.test"}),
    ("split(0), split(1), split(2)", "split(0), split(3), split(2)", {*BOTH, "teach:wide.validation"}),
    ("split(0), split(1), split(2)", "split(4), split(1), split(2)", TEACHER | STUDENT),
    ('name = "halves"', 'name = "other"', set()),
    ("task = Halves()", "unused = 3\ntask = Halves()", set()),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "again"), EDITS)
def test_an_edit_makes_again_what_depends_on_it(
    store: Store, tmp_path: Path, before: str, after: str, again: set[str]
) -> None:
    made(edited(tmp_path), store)

    found = made(edited(tmp_path, before, after), store)

    assert found >= again
    if again != BOTH and "validation" not in str(again):
        assert found == again


def test_explain_names_the_student_and_leaves_the_teacher(store: Store, tmp_path: Path) -> None:
    made(edited(tmp_path), store)
    task = edited(tmp_path, "WIDTH = 4", "WIDTH = 5")

    found = {outlook.step: outlook for outlook in explain(without_files(task), task, store, seed=0, name="x")}

    assert {name for name, outlook in found.items() if outlook.cached} == TEACHER
    assert found["distill"].changed == ("task.student",)


def test_a_moved_folder_changes_nothing(store: Store, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
    made(edited(one), store)

    assert made(edited(other), store) == set()
