"""The recipe that a report shows is the recipe that was run."""

import tomllib
from pathlib import Path

import pytest

from pipeline.recipe import BUILT_IN, read_recipe, recipe_from
from pipeline.report.toml import toml
from pipeline.stage import discover

NESTED = (
    'devices.pixel-8="adb?serial=x"',
    "teach.losses={soft_targets=1.0, hints=0.1}",
    "teach.temperature=[4.0, 1.0]",
    "ledger.country=DEU",
)


@pytest.mark.parametrize("path", sorted(BUILT_IN.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_that_ships_comes_back_from_its_report(path: Path) -> None:
    stages = tuple(discover())
    recipe = read_recipe(path, settings=NESTED, stages=stages)
    kept = recipe.model_dump(mode="json", exclude={"folder"}, by_alias=True, exclude_none=True)

    again = recipe_from(tomllib.loads(toml(kept)), folder=recipe.folder, where="report", stages=stages)

    assert again == recipe
