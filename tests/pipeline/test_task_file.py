"""Task files: loaded as their user means it, and what goes wrong comes back as one line with the user's own frame."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import TaskError
from pipeline.task_file import load_task, wrap_task
from tests.small_task import Bars

RIGHT = """
from pipeline import Metric

class Leaves:
    name = "leaves"
    metric = Metric("accuracy")
    def data(self): ...
    def student(self): ...
    def score(self, outputs, targets): return 0.0

task = Leaves()

def make():
    return Leaves()
"""


@pytest.fixture(autouse=True)
def _imports_as_before(tmp_path: Path) -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def refusal(folder: Path, source: str, reference: str = "my_task.py:task") -> str:
    (folder / "my_task.py").write_text(source, encoding="utf-8")
    with pytest.raises(TaskError) as caught:
        load_task(reference, relative_to=folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("attribute", ["task", "Leaves", "make"])
def test_an_object_a_class_or_a_function_gives_the_task(tmp_path: Path, attribute: str) -> None:
    (tmp_path / "my_task.py").write_text(RIGHT, encoding="utf-8")

    task = load_task(f"my_task.py:{attribute}", relative_to=tmp_path, seed=3)

    assert (task.name, task.root, task.seed) == ("leaves", tmp_path.resolve(), 3)


def test_a_file_imports_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "leaf_net.py").write_text("NAME = 'from a neighbour'\n", encoding="utf-8")
    (tmp_path / "my_task.py").write_text("import leaf_net\n" + RIGHT + "task.name = leaf_net.NAME\n", encoding="utf-8")

    assert load_task("my_task.py:task", relative_to=tmp_path).name == "from a neighbour"


def test_a_neighbour_never_shadows_what_is_ours(tmp_path: Path) -> None:
    for name in ("targets", "devices", "json"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('shadowed')\n", encoding="utf-8")
    (tmp_path / "my_task.py").write_text("import json, targets, devices\n" + RIGHT, encoding="utf-8")

    assert load_task("my_task.py:task", relative_to=tmp_path).name == "leaves"


def test_a_module_gives_the_task_and_its_package_is_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "forest" / "trees").mkdir(parents=True)
    for folder in ("forest", "forest/trees"):
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "forest" / "trees" / "oak.py").write_text(RIGHT, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    task = load_task("forest.trees.oak:task", relative_to=Path("elsewhere"))

    assert (task.name, task.root) == ("leaves", (tmp_path / "forest").resolve())


def test_the_task_that_ships_comes_by_the_same_door() -> None:
    import pipeline

    task = load_task("pipeline.tasks.digits:task", relative_to=Path())

    assert (task.name, task.root) == ("digits", Path(str(pipeline.__file__)).parent)


def test_a_file_that_raises_is_told_with_the_users_frame(tmp_path: Path) -> None:
    source = "def broken():\n    return int('x')\n\nbroken()\n"

    assert refusal(tmp_path, source) == (
        "task file my_task.py raised ValueError: invalid literal for int() with base 10: 'x' (my_task.py:2 in broken)"
    )


def test_the_users_frame_is_told_where_a_library_raises_in_their_folder(tmp_path: Path) -> None:
    library = tmp_path / ".venv" / "lib" / "site-packages"
    library.mkdir(parents=True)
    (library / "broken_library.py").write_text("def f():\n    raise OSError('deep')\n", encoding="utf-8")
    source = f"import sys\nsys.path.append({str(library)!r})\nimport broken_library\nbroken_library.f()\n"

    assert refusal(tmp_path, source).endswith("raised OSError: deep (my_task.py:4 in <module>)")


def test_a_file_in_another_folder_is_told_with_its_frame(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "my_task.py").write_text("1 / 0\n", encoding="utf-8")

    with pytest.raises(TaskError, match=r"ZeroDivisionError: division by zero \(my_task.py:1 in <module>\)$"):
        load_task("../my_task.py:task", relative_to=tmp_path / "recipes")


MISTAKES = [
    ("def f(:\n", "my_task.py:task", "task file my_task.py raised SyntaxError: "),
    ("import nowhere_to_be_found\n", "my_task.py:task", "raised ModuleNotFoundError: No module named 'nowhere_to_be_found' (my_task.py:1"),
    ("import sys\nsys.exit(3)\n", "my_task.py:task", "raised SystemExit: 3 (my_task.py:2 in <module>)"),
    (RIGHT, "my_task.py", "task 'my_task.py' names no attribute; write 'module:attribute' or 'file.py:attribute'"),
    (RIGHT, "other.py:task", "; the path is relative to the recipe's folder"),
    (RIGHT, "my_task.py:taks", "my_task.py has no 'taks'; did you mean 'task'?; name the task in it"),
    (RIGHT, "no_such_module:task", "raised ModuleNotFoundError: No module named 'no_such_module'"),
    (RIGHT.replace("return Leaves()", "return 1 / 0"), "my_task.py:make", "task my_task.py:make raised ZeroDivisionError: division by zero (my_task.py:"),
    (RIGHT.replace("def score", "def scores"), "my_task.py:task", "task my_task.py:task lacks score; a task needs name, metric, data(), student() and score()"),
    ("task = 3\n", "my_task.py:task", "lacks name, metric, data, student, score; "),
    (RIGHT.replace('Metric("accuracy")', '"accuracy"'), "my_task.py:task", "metric is a str; give pipeline.Metric('accuracy')"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "reference", "said"), MISTAKES)
def test_a_mistake_is_told_in_one_line(tmp_path: Path, source: str, reference: str, said: str) -> None:
    assert said in refusal(tmp_path, source, reference)


def test_a_folder_without_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)

    assert "empty_folder is a folder without code; name the module in it" in refusal(
        tmp_path, RIGHT, "empty_folder:task"
    )


def test_an_object_from_python_is_a_task_too() -> None:
    task = wrap_task(Bars(), seed=2)

    assert (task.name, task.seed, task.root) == ("bars", 2, Path(__file__).parents[1].resolve())


def test_an_object_from_python_that_is_no_task_is_refused() -> None:
    with pytest.raises(TaskError, match="task int lacks name, metric, data, student, score"):
        wrap_task(3)
