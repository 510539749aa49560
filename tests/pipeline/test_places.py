"""Which device speaks for which target."""

from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from pipeline.places import place_of, read_places
from pipeline.recipe import read_recipe
from pipeline.stage import discover

BOTH = ["pixel-8", "raspberry-pi-4"]


def test_a_spec_is_for_every_target_and_a_named_one_for_its_own() -> None:
    places = read_places(["qemu", "pixel-8=adb:serial"])

    assert places == {"": "qemu", "pixel-8": "adb:serial"}
    assert [place_of(places, target, BOTH) for target in BOTH] == ["adb:serial", "qemu"]


@pytest.mark.parametrize("spec", ["replay:file.json?device=NAME", "ssh://pi@board/?key=x", "host"])
def test_a_spec_with_an_equals_sign_of_its_own_names_no_target(spec: str) -> None:
    assert read_places([spec]) == {"": spec}
    assert place_of({"": spec}, None, []) == spec
    assert place_of({"": spec}, "pixel-8", ["pixel-8"]) == spec


def test_nothing_named_is_measured_nowhere() -> None:
    assert place_of({}, "pixel-8", BOTH) is None
    assert place_of({"pixel-8": "adb"}, "raspberry-pi-4", BOTH) is None


@pytest.mark.parametrize("spec", ["ssh://pi@board", "adb", "replay:file.json"])
def test_a_board_says_which_of_several_targets_it_is(spec: str) -> None:
    with pytest.raises(RecipeError, match="say which: --device pixel-8="):
        place_of({"": spec}, "pixel-8", BOTH)


def test_a_target_that_is_not_checked_is_told() -> None:
    with pytest.raises(RecipeError, match="did you mean 'pixel-8'"):
        place_of({"pixel8": "adb"}, "pixel-8", BOTH)


def test_one_target_is_named_once() -> None:
    with pytest.raises(RecipeError, match="names every target twice"):
        read_places(["host", "qemu"])


def test_a_recipes_devices_stand_until_the_command_line_says_otherwise() -> None:
    from pipeline.api import devices_of

    recipe = read_recipe(Path("digits"), stages=tuple(discover())).model_copy(
        update={"devices": {"pixel-8": "adb:1?cores=6"}}
    )
    targets = ("raspberry-pi-4", "pixel-8")

    assert devices_of(recipe, [], targets) == {"raspberry-pi-4": None, "pixel-8": "adb:1?cores=6"}
    assert devices_of(recipe, ["raspberry-pi-4=ssh://pi@board?cores=3"], targets) == {
        "raspberry-pi-4": "ssh://pi@board?cores=3",
        "pixel-8": "adb:1?cores=6",
    }
    assert devices_of(recipe, ["qemu"], targets) == dict.fromkeys(targets, "qemu")
