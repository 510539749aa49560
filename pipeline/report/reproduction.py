"""What it takes to make a run again, and to say what differs from another: recipe, settings as they were used, data, files, machine."""

import platform
from typing import Any

from pipeline.artifact import file_digest
from pipeline.plan import Step
from pipeline.report.made import Made
from pipeline.report.model import Reproduction
from pipeline.task import PARTS

PLANNED = ("audit", "export_onnx", "export_tflite")
"""Stages that a recipe may set by name, whatever their steps are called."""
OF_ONE_TEACHER = frozenset({"teacher"})


def reproduction(made: Made) -> Reproduction:
    """Return all of it."""
    recipe = made.recipe.model_dump(mode="json", exclude={"folder"}, by_alias=True, exclude_none=True)
    return Reproduction(
        recipe=recipe,
        settings=_settings(made),
        task={part: made.task.fingerprint(part) for part in PARTS},
        files=_files(made),
        machine=f"Python {platform.python_version()}, {platform.system()} {platform.machine()}",
    )


def _settings(made: Made) -> dict[str, dict[str, Any]]:
    """Return each stage's settings by the name under which a recipe sets them, defaults and the target's facts included."""
    steps = {step.name: step for step in made.plan.steps}
    named = {name: steps[name] for name in made.recipe.occurrences if name in steps}
    stages: dict[str, Step] = {}
    for step in made.plan.steps:
        stages.setdefault(step.stage.name, step)
    planned = {name: stages[name] for name in ("teach", *PLANNED) if name in stages}
    return {
        name: step.config.model_dump(mode="json", exclude=set(OF_ONE_TEACHER))
        for name, step in {**planned, **named}.items()
    }


def _files(made: Made) -> dict[str, str]:
    artifacts = [made.done[row.model].artifact for row in made.file_rows()]
    return {f"model.{each.kind}": file_digest(each.file(f"model.{each.kind}")) for each in artifacts}
