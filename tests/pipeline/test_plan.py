"""Plans: every step after those that it builds on, with the settings that its section and its target ask for."""

import math
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RecipeError
from pipeline.plan import Plan, plan
from pipeline.recipe import recipe_from
from pipeline.stage import Stage, discover
from pipeline.task import LoadedTask
from tests.small_task import Bars, bars

ORDERS = [
    ["teach", "distill", "prune", "quantize", "export"],
    ["teach", "prune", "distill", "quantize", "export"],
    ["teach", "distill", "prune", "prune", "quantize", "export"],
    ["teach", "distill", "export"],
    ["prune", "quantize", "export"],
    ["quantize", "export"],
    ["quantize"],
]


@cache
def stages() -> Mapping[str, Stage]:
    return discover()


def planned(order: list[str], *, task: LoadedTask | None = None, poured: Any = None, **content: Any) -> Plan:
    right = {"schema": 1, "name": "x", "task": "t.py:task", "targets": ["a"], "stages": order}
    recipe = recipe_from({**right, **content}, folder=Path(), where="recipe", stages=tuple(stages()))
    return plan(recipe, task or bars(), stages(), poured=poured or {})


def names(drawn: Plan) -> list[str]:
    return [step.name for step in drawn.steps]


def refusal(order: list[str], *, task: LoadedTask | None = None, **content: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        planned(order, task=task, **content)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def untaught() -> LoadedTask:
    """Return the task without teachers."""
    return LoadedTask(type("Untaught", (Bars,), {"teachers": lambda _self: {}})(), Path())


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("distill", "temperature", math.inf),
        ("distill", "temperature", [4.0, math.nan]),
        ("distill", "losses", {"hints": math.nan}),
        ("outputs", "max_gib", math.inf),
        ("train", "weight_decay", math.inf),
    ],
)
def test_a_setting_without_end_is_one_line(section: str, key: str, value: Any) -> None:
    content: dict[str, Any] = {section: {key: value}}

    told = refusal(["teach", "distill", "export"], **content)

    assert f"key '{key}" in told


@pytest.mark.parametrize("order", ORDERS)
def test_every_step_stands_after_those_that_it_builds_on(order: list[str]) -> None:
    known: set[str] = set()
    for step in planned(order).steps:
        assert set(step.inputs.values()) <= known
        known.add(step.name)


@pytest.mark.parametrize("order", ORDERS)
def test_every_step_gets_the_inputs_that_its_stage_takes(order: list[str]) -> None:
    for step in planned(order).steps:
        required = {name for name in step.stage.takes if not name.endswith(("?", "*"))}
        known = {name.rstrip("?*") for name in step.stage.takes}

        assert required <= set(step.inputs), step.name
        assert {name.partition(":")[0] for name in step.inputs} <= known, step.name


@pytest.mark.parametrize("order", ORDERS)
def test_no_two_steps_bear_one_name(order: list[str]) -> None:
    assert [name for name, count in Counter(names(planned(order))).items() if count > 1] == []


@pytest.mark.parametrize("order", ORDERS)
def test_only_the_reports_answers_look_at_the_test_split(order: list[str]) -> None:
    drawn = planned(order)
    answers = {row.answers for row in drawn.rows}

    looking = {step.name for step in drawn.steps if getattr(step.config, "split", "") == "test"}

    assert looking == answers
    assert not {source for step in drawn.steps for source in step.inputs.values()} & answers
    assert [step.name for step in drawn.steps if "data.test" in step.stage.reads] == []


@pytest.mark.parametrize("order", ORDERS)
def test_every_row_names_a_model_that_the_plan_makes(order: list[str]) -> None:
    drawn = planned(order)

    assert {row.model for row in drawn.rows} <= set(names(drawn))
    assert drawn.program in names(drawn)
    assert set(drawn.files) <= set(names(drawn))
    assert bool(drawn.files) == ("export" in order)


def test_the_teachers_supervise_every_stage_that_trains() -> None:
    drawn = planned(["teach", "distill", "prune", "quantize", "export"], prune={"epochs": 1})

    for name in ("distill", "prune", "quantize"):
        assert {"teacher:wide", "teacher:wider"} <= set(drawn.step(name).inputs), name


def test_a_stage_that_only_calibrates_needs_no_teacher() -> None:
    assert set(
        planned(["teach", "distill", "quantize"], quantize={"epochs": 0, "scheme": "static_int8"})
        .step("quantize")
        .inputs
    ) == {"network"}


def test_the_chain_is_a_chain() -> None:
    drawn = planned(["teach", "distill", "prune", "prune", "quantize", "export"])

    assert [drawn.step(name).inputs.get("network") for name in ("distill", "prune", "prune-2", "quantize")] == [
        None,
        "distill",
        "prune",
        "prune-2",
    ]
    assert drawn.program == "quantize"


def test_a_section_sets_each_occurrence_and_a_numbered_one_its_own_alone() -> None:
    sections: dict[str, Any] = {"prune": {"keep_macs": 0.5, "epochs": 1}, "prune-2": {"keep_macs": 0.25}}

    drawn = planned(["teach", "distill", "prune", "prune", "quantize"], **sections)

    settings = [
        (drawn.step(name).config.model_dump()["keep_macs"], drawn.step(name).config.model_dump()["epochs"])
        for name in ("prune", "prune-2")
    ]
    assert settings == [(0.5, 1), (0.25, 1)]


def test_the_targets_facts_enter_the_settings_and_the_recipe_wins_over_them() -> None:
    poured = {"prune": {"channel_multiple": 16, "keep_macs": 0.7}}

    config = planned(["teach", "distill", "prune"], poured=poured, prune={"keep_macs": 0.5}).step("prune").config

    assert (config.model_dump()["channel_multiple"], config.model_dump()["keep_macs"]) == (16, 0.5)


def test_two_targets_share_the_steps_that_neither_asks_differently() -> None:
    order = ["teach", "distill", "prune", "quantize", "export"]

    one, other = (planned(order, poured={"prune": {"channel_multiple": multiple}}) for multiple in (8, 16))

    assert [step.name for step, twin in zip(one.steps, other.steps, strict=True) if step != twin] == ["prune"]


def test_the_control_is_the_same_student_alone_for_as_many_epochs() -> None:
    sections: dict[str, Any] = {"distill": {"epochs": 5}, "prune": {"epochs": 3}, "quantize": {"epochs": 2}}

    drawn = planned(["teach", "distill", "prune", "quantize", "export"], **sections)

    assert drawn.step("alone").stage.name == "distill"
    assert drawn.step("alone").inputs == {}
    assert drawn.step("alone").config.model_dump()["epochs"] == 10
    assert [row.title for row in drawn.rows if row.control] == [
        "student alone",
        "student alone, onnx by PTQ",
        "student alone, tflite by PTQ",
    ]


@pytest.mark.parametrize(
    ("order", "content"), [(["teach", "distill"], {"controls": False}), (["quantize"], {"quantize": {"epochs": 0}})]
)
def test_there_is_no_control_where_none_is_wanted_or_nothing_trains(order: list[str], content: dict[str, Any]) -> None:
    assert [row for row in planned(order, **content).rows if row.control] == []


WRONG = [
    ({"prune": {"keep_mac": 0.5}}, "recipe 'x', [prune]: unknown key 'keep_mac'; did you mean 'keep_macs'?"),
    ({"prune": {"keep_macs": "half"}}, "[prune]: key 'keep_macs': input should be a valid number; found 'half'"),
    ({"prune": {"keep_macs": 2}}, "[prune]: key 'keep_macs': input should be less than or equal to 1; found 2"),
    ({"distill": {"epochs": 1.5}}, "[distill]: key 'epochs': input should be a valid integer"),
    ({"teach": {"optimiser": "adamw"}}, "[teach]: unknown key 'optimiser'; did you mean 'optimizer'?"),
    ({"export": {"nothing": 1}}, "unknown key 'nothing'"),
]


@pytest.mark.parametrize(("content", "said"), WRONG)
def test_a_wrong_setting_is_told_with_its_section(content: dict[str, Any], said: str) -> None:
    assert said in refusal(["teach", "distill", "prune", "quantize", "export"], **content)


def test_distilling_without_a_teacher_is_refused() -> None:
    assert "has no trained teacher; put 'teach' first in stages, or give Teacher(weights=...)" in refusal(
        ["distill", "export"], task=untaught()
    )


@pytest.mark.parametrize("order", [["teach", "prune", "distill"], ["teach", "distill", "distill"]])
def test_a_peer_beside_a_network_that_goes_on_is_refused(order: list[str]) -> None:
    assert "peers = 1 draws a second student afresh" in refusal(order, distill={"peers": 1})
    sections: dict[str, Any] = {"distill": {"peers": 1}, "distill-2": {"peers": 0}}
    planned(["teach", "distill", "distill"], **sections)


def test_a_recipe_that_makes_no_student_is_refused() -> None:
    assert "exports nothing; put distill, prune or quantize before export" in refusal(["teach"])


def test_a_task_without_teachers_is_only_quantised() -> None:
    drawn = planned(["quantize", "export"], task=untaught(), quantize={"epochs": 0})

    assert [name for name in names(drawn) if name.startswith("teach")] == []
    assert drawn.program == "quantize"


def test_a_scheme_that_the_recipe_leaves_open_is_found_before_the_network_is_quantised() -> None:
    drawn = planned(["teach", "distill", "quantize"], quantize={"rules": {"float_layers": ["head"]}})
    names = [step.name for step in drawn.steps]

    assert drawn.step("quantize").inputs["scheme"] == "quantize.scheme"
    assert names.index("quantize.scheme") < names.index("quantize")
    assert drawn.step("quantize.scheme").config.model_dump()["rules"]["float_layers"] == ("head",)


@pytest.mark.parametrize(
    ("engine", "file", "source"),
    [
        ("onnxruntime", "quantize.onnxruntime", {"model": "prune.onnx"}),
        ("ai-edge-quantizer", "quantize.ai-edge-quantizer", {"model": "prune.tflite"}),
        ("neural-compressor", "quantize.neural-compressor", {"network": "prune"}),
    ],
)
def test_another_engine_quantises_the_float_network_in_the_format_that_it_has(
    engine: str, file: str, source: dict[str, str]
) -> None:
    drawn = planned(ORDERS[0], quantize={"engine": engine, "epochs": 0, "calibration_samples": 40})

    assert (drawn.program, drawn.files) == ("prune", (file,))
    assert "quantize" not in names(drawn)
    assert drawn.step(file).inputs == source
    assert drawn.step(file).config.model_dump()["calibration_samples"] == 40
    assert [row.title for row in drawn.rows if row.model == file] == [f"int8 {drawn.step(file).stage.gives}"]


def test_baselines_stand_beside_as_controls() -> None:
    every = ["calibration", "onnxruntime", "ai-edge-quantizer", "neural-compressor"]
    drawn = planned(ORDERS[0], quantize={"baselines": every})

    assert drawn.files == ("quantize.onnx", "quantize.tflite")
    assert drawn.baselines == (
        "calibration.onnx",
        "calibration.tflite",
        "quantize.onnxruntime",
        "quantize.ai-edge-quantizer",
        "quantize.neural-compressor",
    )
    assert drawn.step("calibration").config.model_dump()["epochs"] == 0
    assert drawn.step("calibration").inputs == {"network": "prune", "scheme": "quantize.scheme"}
    assert all(row.control for row in drawn.rows if row.model in drawn.baselines)
    assert not planned(ORDERS[0], quantize={"baselines": every}, controls=False).baselines


def test_another_engine_that_should_train_is_refused() -> None:
    said = refusal(ORDERS[0], quantize={"engine": "onnxruntime"})

    assert "[quantize]: key 'engine': it quantises from data alone: set epochs = 0 beside it" in said
    assert "unknown" not in said
    assert "did you mean" not in refusal(ORDERS[0], quantize={"engine": "tvm", "epochs": 0})
