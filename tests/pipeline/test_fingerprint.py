"""Fingerprints: what must count counts, what must not doesn't, and they are equal in every process."""

import functools
import importlib.util
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import TaskError
from pipeline.fingerprint import code_fingerprint, network_fingerprint, sample_fingerprint, text_fingerprint

ROOT = Path(__file__).parents[2]
SOURCE = '''
import functools
import math
from dataclasses import dataclass

RATE = 0.5
TABLE = {"ce": lambda x: x, "mse": lambda x: x * x}
SHIFTS = frozenset({"left", "right", "up", "down"})

def helper(x):
    return x * RATE

def doubled(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        return 2 * function(*arguments)
    return wrapper

def scaled(by):
    return lambda x: by * x

@dataclass
class Settings:
    weight: float = 0.25
    def apply(self, x):
        return x + self.weight

SETTINGS = Settings()

class Parent:
    def shared(self, x):
        return x + 1

class Task(Parent):
    alpha = 3
    def __init__(self):
        self.beta = 4
        self.gamma = 5

    def loss(self, output, target, *, margin=1.0):
        """Say nothing."""
        return self.shared(helper(output)) + self.alpha * self.beta + margin  # a remark

    def student(self):
        return self.gamma

    def whole(self):
        return hand_on(self)

    def late(self):
        from neighbour import distance
        return distance(1)

    def lazily(self):
        return lambda: self.beta

    def wide(self, x):
        return x in SHIFTS and x not in {"a", "b", "c"}

    @property
    def twice(self):
        return self.alpha * 2

    def by_property(self):
        return self.twice

    def shared_again(self, x):
        return super().shared(x)

def hand_on(task):
    return task.gamma

def uses_settings(x):
    return SETTINGS.apply(x)

def uses_class(x):
    return Settings.weight

def uses_table(x):
    return TABLE["ce"](x)

@doubled
def decorated(x):
    return x + 1

@functools.lru_cache
def cached(x):
    return helper(x)

half = functools.partial(helper, 0.5)
by_two = scaled(2)
activation = math.exp
task = Task()

def uses_activation(x):
    return activation(x)
'''

Loader = Callable[[str], ModuleType]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loader:
    """Write a user's file and import it anew, beside a neighbour that it imports late."""
    (tmp_path / "neighbour.py").write_text("def distance(x):\n    return x + 7\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("neighbour", None)

    def loaded(source: str) -> ModuleType:
        path = tmp_path / "my_task.py"
        path.write_text(source, encoding="utf-8")
        spec = importlib.util.spec_from_loader("my_task", loader=None, origin=str(path))
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        module.__file__ = str(path)
        sys.modules["my_task"] = module
        exec(compile(source, str(path), "exec"), vars(module))  # noqa: S102 - a file's stale bytecode must not hide a change
        return module

    return loaded


def part(module: ModuleType, name: str) -> Any:
    value: Any = module
    for attribute in name.split("."):
        value = getattr(value, attribute)
    return value


CHANGES = [
    ("task.loss", "RATE = 0.5", "RATE = 0.6"),
    ("task.loss", "return x * RATE", "return x + RATE"),
    ("task.loss", "return x + 1\n\nclass Task", "return x + 2\n\nclass Task"),
    ("task.loss", "alpha = 3", "alpha = 30"),
    ("task.loss", "self.beta = 4", "self.beta = 40"),
    ("task.loss", "margin=1.0", "margin=2.0"),
    ("task.whole", "self.gamma = 5", "self.gamma = 50"),
    ("task.late", "from neighbour import distance", "from neighbour import distance as other, distance"),
    ("task.lazily", "self.beta = 4", "self.beta = 40"),
    ("task.wide", '"up", "down"', '"up", "away"'),
    ("task.wide", '{"a", "b", "c"}', '{"a", "b", "d"}'),
    ("task.by_property", "self.alpha * 2", "self.alpha * 4"),
    ("task.by_property", "alpha = 3", "alpha = 30"),
    ("task.shared_again", "return x + 1\n\nclass Task", "return x + 2\n\nclass Task"),
    ("uses_settings", "weight: float = 0.25", "weight: float = 0.5"),
    ("uses_settings", "return x + self.weight", "return x - self.weight"),
    ("uses_class", "weight: float = 0.25", "weight: float = 0.5"),
    ("uses_table", "lambda x: x,", "lambda x: -x,"),
    ("uses_table", "lambda x: x * x", "lambda x: x * x * x"),
    ("decorated", "return 2 * function", "return 3 * function"),
    ("decorated", "def decorated(x):\n    return x + 1", "def decorated(x):\n    return x + 2"),
    ("cached", "RATE = 0.5", "RATE = 0.6"),
    ("half", "partial(helper, 0.5)", "partial(helper, 0.6)"),
    ("half", "RATE = 0.5", "RATE = 0.6"),
    ("by_two", "scaled(2)", "scaled(3)"),
    ("uses_activation", "math.exp", "math.log"),
    ("Task", "return self.gamma", "return self.gamma + 1"),
    ("Task", "return x + 1\n\nclass Task", "return x + 2\n\nclass Task"),
]


@pytest.mark.parametrize(("name", "before", "after"), CHANGES)
def test_a_change_of_what_is_reached_changes_the_fingerprint(
    load: Loader, tmp_path: Path, name: str, before: str, after: str
) -> None:
    assert SOURCE.count(before) == 1
    old = code_fingerprint(part(load(SOURCE), name), tmp_path)

    new = code_fingerprint(part(load(SOURCE.replace(before, after)), name), tmp_path)

    assert new != old


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# a remark", "# another one"),
        ("RATE = 0.5", "\n\n# the rate\nRATE = 0.5"),
        ('"""Say nothing."""', '"""Say something\n        else."""'),
        ("self.gamma = 5", "self.gamma = 50"),
        ("return self.gamma", "return self.gamma + 1"),
        ("weight: float = 0.25", "weight: float = 0.5"),
        ("def hand_on", "def unused():\n    return 1\n\ndef hand_on"),
        ("self.alpha * self.beta", "self.alpha   *   (self.beta)"),
    ],
)
def test_a_change_of_what_the_loss_does_not_reach_leaves_its_fingerprint(
    load: Loader, tmp_path: Path, before: str, after: str
) -> None:
    assert SOURCE.count(before) == 1
    old = code_fingerprint(load(SOURCE).task.loss, tmp_path)

    new = code_fingerprint(load(SOURCE.replace(before, after)).task.loss, tmp_path)

    assert new == old


def test_a_module_imported_inside_a_function_counts(load: Loader, tmp_path: Path) -> None:
    old = code_fingerprint(load(SOURCE).task.late, tmp_path)
    (tmp_path / "neighbour.py").write_text("def distance(x):\n    return x + 70000\n", encoding="utf-8")
    sys.modules.pop("neighbour", None)

    assert code_fingerprint(load(SOURCE).task.late, tmp_path) != old


def test_two_lambdas_of_one_name_are_two(load: Loader, tmp_path: Path) -> None:
    module = load("pair = (lambda x: x, lambda x: -x)\ndef both(x):\n    return [f(x) for f in pair]\n")
    other = load("pair = (lambda x: x, lambda x: +x)\ndef both(x):\n    return [f(x) for f in pair]\n")

    assert code_fingerprint(module.both, tmp_path) != code_fingerprint(other.both, tmp_path)


def test_modules_that_import_each_other_are_followed_to_an_end(load: Loader, tmp_path: Path) -> None:
    module = load("def use(x):\n    return one.two.one.f(x)\n")
    one, two = ModuleType("one"), ModuleType("two")
    for made, others in ((one, {"two": two, "f": module.use}), (two, {"one": one})):
        made.__file__ = str(tmp_path / f"{made.__name__}.py")
        vars(made).update(others)
    vars(module)["one"] = one

    assert len(code_fingerprint(module.use, tmp_path)) == 64


def test_a_long_chain_of_functions_needs_no_deep_stack(load: Loader, tmp_path: Path) -> None:
    chain = "\n".join(f"def f{i}(x):\n    return f{i + 1}(x)" for i in range(1200)) + "\ndef f1200(x):\n    return x"
    old = code_fingerprint(load(chain).f0, tmp_path)

    assert code_fingerprint(load(chain.replace("return x", "return -x")).f0, tmp_path) != old


def test_a_virtual_environment_in_the_users_folder_is_not_the_users_code(load: Loader, tmp_path: Path) -> None:
    module = load(SOURCE)
    installed = tmp_path / ".venv" / "lib" / "site-packages" / "lib.py"
    library = ModuleType("lib")
    library.__file__ = str(installed)
    prints = []
    for body in ("x", "-x"):
        exec(compile(f"def f(x):\n    return {body}\n", str(installed), "exec"), vars(library))  # noqa: S102 - as above
        vars(module)["activation"] = vars(library)["f"]
        prints.append(code_fingerprint(module.uses_activation, tmp_path))

    assert prints[0] == prints[1]


def test_fingerprints_are_equal_in_every_process_whatever_its_hash_seed(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("def distance(x):\n    return x + 7\n", encoding="utf-8")
    (tmp_path / "my_task.py").write_text(SOURCE, encoding="utf-8")
    script = f"""
        import sys
        from pathlib import Path
        sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]
        import my_task
        from pipeline.fingerprint import code_fingerprint
        for value in (my_task.task.loss, my_task.task.whole, my_task.half, my_task.uses_table, my_task.task.wide, my_task.Task,
                      my_task.uses_settings, my_task.decorated, my_task.cached, my_task.task.late):
            print(code_fingerprint(value, Path({str(tmp_path)!r})))
    """
    said = [
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, folder in (("1", ROOT), ("2", tmp_path))
    ]

    assert said[0] == said[1]
    assert len(set(said[0].split())) == 10


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        ("1", 1),
        ((1, 2), (1, (2,))),
        (np.zeros(2), np.zeros((2, 1))),
        (np.zeros(2, np.float32), np.zeros(2)),
        (torch.zeros(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)),
        (np.array([{"a": 1}], dtype=object), np.array([{"a": 2}], dtype=object)),
        ({"a": 1}, {"a": 2}),
        ({1, 2}, {1, 3}),
        (("ab", "c"), ("a", "bc")),
        (b"ab", "ab"),
        (None, "None"),
    ],
)
def test_different_samples_have_different_fingerprints(one: Any, other: Any) -> None:
    assert sample_fingerprint(one) != sample_fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (np.arange(6).reshape(2, 3).T, np.arange(6).reshape(2, 3).T.copy()),
        (torch.arange(4.0), np.arange(4, dtype=np.float32)),
        (np.array([{"a": 1}], dtype=object), np.array([{"a": 1}], dtype=object)),
        ({"x", "y", "z"}, {"z", "y", "x"}),
        (torch.ones(2).to_sparse(), torch.ones(2)),
    ],
)
def test_equal_samples_have_equal_fingerprints(one: Any, other: Any) -> None:
    assert sample_fingerprint(one) == sample_fingerprint(other)


def test_a_sample_whose_content_cannot_be_seen_is_refused_in_one_line() -> None:
    with pytest.raises(TaskError, match=r"the data hold a object, whose content can't be compared; give arrays"):
        sample_fingerprint((object(), 1))


def test_texts_are_told_from_each_other() -> None:
    assert len({text_fingerprint("ab", "c"), text_fingerprint("a", "bc"), text_fingerprint("abc")}) == 3


def test_a_network_counts_by_structure_and_by_weights() -> None:
    def made(seed: int, kernel: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 2, kernel, padding=1), nn.ReLU())

    prints = [network_fingerprint(made(*what)) for what in ((0, 3), (0, 3), (1, 3))]

    assert prints[0] == prints[1]
    assert prints[0] != prints[2]
    assert network_fingerprint(nn.ReLU()) != network_fingerprint(nn.ReLU6())


def test_partials_of_one_function_are_told_apart(load: Loader, tmp_path: Path) -> None:
    module = load(SOURCE)
    one, other = functools.partial(module.helper, 1), functools.partial(module.helper, 2)
    vars(module)["TABLE"] = {"ce": one, "mse": other}
    old = code_fingerprint(module.uses_table, tmp_path)
    vars(module)["TABLE"] = {"ce": other, "mse": one}

    assert code_fingerprint(module.uses_table, tmp_path) != old
