"""What `edgepress fit` refuses before its first trial: hours would go into what can't end well."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.api import Silent
from pipeline.errors import RecipeError
from pipeline.fit.fit import fit
from pipeline.recipe import Recipe, recipe_from
from pipeline.stage import discover
from tests.small_task import bars


def recipe(target: str = "nucleo-l4r5zi", **content: Any) -> Recipe:
    whole = {"schema": 1, "name": "small", "task": "given", "targets": [target], **content}
    return recipe_from(whole, folder=Path(), where="test", stages=tuple(discover()))


def refused(own: Recipe, folder: Path, *devices: str) -> str:
    """Return why a search doesn't begin."""
    with pytest.raises(RecipeError) as caught:
        fit(own, bars(), out=folder / "out", devices=devices, watcher=Silent())
    assert not (folder / "out").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("target", "devices", "said"),
    [
        ("nucleo-l4r5zi", (), "nothing here runs its files"),
        ("corstone-300", ("host",), "host tells no latency of it"),
        ("corstone-300", ("tflm",), "tflm tells no latency of it"),
    ],
)
def test_a_budget_of_a_latency_that_nothing_tells_is_one_line(
    tmp_path: Path, target: str, devices: tuple[str, ...], said: str
) -> None:
    told = refused(recipe(target, budget={"latency_ms": 0.5}), tmp_path, *devices)

    assert told.startswith(f"recipe 'small': budget.latency_ms = 0.5 can't be judged on {target}: {said}; ")
    assert f"--device {target}=SPEC" in told
