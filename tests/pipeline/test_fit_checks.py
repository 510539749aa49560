"""What `edgepress fit` refuses before its first trial: hours would go into what can't end well."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.api import Silent
from pipeline.errors import RecipeError
from pipeline.fit.fit import fit
from pipeline.recipe import Recipe, recipe_from
from pipeline.stage import discover
from pipeline.workers import OnRay, Workers
from tests.small_task import bars


def recipe(target: str = "nucleo-l4r5zi", **content: Any) -> Recipe:
    whole = {"schema": 1, "name": "small", "task": "given", "targets": [target], **content}
    return recipe_from(whole, folder=Path(), where="test", stages=tuple(discover()))


def refused(own: Recipe, folder: Path, *devices: str, crew: Workers | None = None) -> str:
    """Return why a search doesn't begin."""
    with pytest.raises(RecipeError) as caught:
        fit(own, bars(), out=folder / "out", devices=devices, watcher=Silent(), crew=crew)
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


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("prune.keep_macs", 1.5, "[prune]: key 'keep_macs': input should be less than or equal to 1; found 1.5"),
        ("prune.keep_macs", "half", "[prune]: key 'keep_macs': input should be a valid number; found 'half'"),
        ("prune.until", "watts = 3", "[prune]: key 'until': it takes one of latency_ms, instructions, cycles"),
        ("quantize.engine", "onnxruntime", "[quantize]: key 'engine': it quantises from data alone: set epochs = 0"),
    ],
)
def test_a_value_that_no_stage_takes_is_one_line_before_the_first_trial(
    tmp_path: Path, key: str, value: float | str, said: str
) -> None:
    own = recipe(budget={"size_kib": 20.0}, fit={"space": {key: [value]}})

    told = refused(own, tmp_path)

    assert told.startswith(f"[fit] would try {key} = {value!r}: recipe 'small', {said}")


def test_a_setting_that_is_a_list_in_the_recipe_is_not_turned(tmp_path: Path) -> None:
    own = recipe(
        budget={"size_kib": 20.0},
        distill={"temperature": [4.0, 1.0]},
        fit={"space": {"distill.temperature": [2.0]}},
    )

    assert "'distill.temperature' is [4.0, 1.0] in the recipe, and fit turns single values" in refused(own, tmp_path)


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (["teach", "prun", "export"], "no stage 'prun'; known: .*did you mean 'prune'"),
        (
            ["teach", "quantize", "prune", "export"],
            "quantize stands before 'prune', which would train the rounding away",
        ),
        (["distill", "teach", "export"], "teach stands after 'distill'"),
        ([], "key 'fit.stages.0': tuple should have at least 1 item"),
    ],
)
def test_an_order_that_a_recipe_must_not_have_is_no_order_to_try(order: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe(fit={"stages": [order]})


def test_an_order_that_makes_no_file_is_one_line_before_the_first_trial(tmp_path: Path) -> None:
    told = refused(recipe(budget={"size_kib": 20.0}, fit={"stages": [["teach", "distill"]]}), tmp_path)

    assert (
        told
        == "[fit] would try stages = 'teach,distill': recipe 'small' exports nothing, and fit judges files; put export last in stages"
    )


def test_a_limit_of_energy_that_nobody_counts_is_one_line(tmp_path: Path) -> None:
    whole: dict[str, Any] = {"budget": {"size_kib": 20.0}, "fit": {"watt_hours": 5.0}}
    asked = "recipe 'small': fit.watt_hours = 5, and "
    cluster = OnRay(None, 2, on_this_machine=False)

    assert (
        refused(recipe(**whole), tmp_path) == asked + "no [ledger] counts them; give one, e.g. --set ledger.country=DEU"
    )
    told = refused(recipe(**whole, ledger={"country": "DEU"}), tmp_path, crew=cluster)
    assert told == asked + "only this machine's are counted, not a cluster's; give hours, or no --cluster"
