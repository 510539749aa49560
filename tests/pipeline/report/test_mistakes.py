"""The worst answers: chosen by the task's own measure, told by each form, few, short, and text wherever they are shown."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.artifact import Kind, open_artifact, write_manifest
from pipeline.errors import TaskError
from pipeline.plan import Plan, Row, Step
from pipeline.recipe import DEFAULT_STAGES, recipe_from
from pipeline.recorded_outputs import output_path
from pipeline.report.made import Made
from pipeline.report.mistakes import mistakes
from pipeline.report.model import Mistake, Mistakes
from pipeline.report.text import to_markdown
from pipeline.run import Done
from pipeline.stage import StageConfig, discover
from pipeline.store import Record
from pipeline.task_file import wrap_task
from tests.small_report import report
from tests.small_task import Bars

Told = Callable[[Any, Any], Any]
FORMS: dict[str, Kind] = {
    "teach:wide": "network",
    "distill": "network",
    "export_onnx": "onnx",
    "export_tflite": "tflite",
}


class Telling(Bars):
    """Bars that tell of their mistakes as a test says."""

    def __init__(self, told: Told, *, labelled: bool = True) -> None:
        super().__init__(labelled=labelled)
        self.mistakes = told


def by_first(outputs: Any, _: Any) -> list[tuple[float, str, str]]:
    """The first number of an answer says how wrong it is."""
    return [(off, f"bar {number}", f"{off:g}\x1b[2J" + "!" * 900) for number, off in enumerate(outputs[:, 0].tolist())]


def made(folder: Path, task: Any, answers: dict[str, np.ndarray]) -> Made:
    """What a run made, of which only kinds and answers on the test split are there."""
    content = {"schema": 1, "name": "bars", "task": "task.py:task", "targets": ["raspberry-pi-4"]}
    done = {}
    for step, kind in FORMS.items():
        stage = discover()[step.partition(":")[0]]
        both: tuple[tuple[str, Kind], ...] = ((step, kind), (f"{step}.test", "outputs"))
        for name, holds in both:
            place = folder / name.replace(":", "-")
            place.mkdir()
            if holds == "outputs":
                np.save(output_path(place, 0), answers[step][None])
            write_manifest(place, holds, {"shapes": [[1, *answers[step].shape]]})
            record = Record(key="0" * 64, digest="", parts={}, seconds=1.0, circumstances={})
            done[name] = Done(Step(name, stage, StageConfig(), {}), open_artifact(place), record, cached=False)
    return Made(
        recipe=recipe_from(content, folder=folder, where="here", stages=[*DEFAULT_STAGES]),
        plan=Plan((), tuple(Row(step, step, f"{step}.test") for step in FORMS), "", ("export_onnx", "export_tflite")),
        task=wrap_task(task),
        done=done,
    )


@pytest.fixture
def answers() -> dict[str, np.ndarray]:
    found = {step: np.zeros((40, 4), np.float32) for step in FORMS}
    found["export_tflite"][5:25, 0] = np.arange(20)  # the first of them isn't wrong
    found["distill"][:, 0] = 7
    return found


def test_the_worst_of_the_last_form_stand_beside_what_the_others_say(tmp_path: Path, answers: Any) -> None:
    found = mistakes(made(tmp_path, Telling(by_first), answers))

    assert found is not None
    assert found.forms == ("teach:wide", "distill", "export_tflite")
    assert found.wrong == 19
    assert [each.sample for each in found.worst] == [24, 23, 22, 21, 20, 19, 18, 17, 16, 15]
    assert found.worst[0].what == "bar 24"
    assert [said.partition("\\x1b")[0] for said in found.worst[0].said] == ["0", "7", "19"]
    assert {len(said) for each in found.worst for said in each.said} == {200}
    assert all(said.isprintable() for each in found.worst for said in each.said)


def test_a_teacher_that_is_the_measure_itself_is_not_told(tmp_path: Path, answers: Any) -> None:
    found = mistakes(made(tmp_path, Telling(by_first, labelled=False), answers))

    assert found is not None
    assert found.forms == ("distill", "export_tflite")


def test_where_nothing_is_wrong_nothing_is_told(tmp_path: Path, answers: Any) -> None:
    found = mistakes(made(tmp_path, Telling(by_first), {**answers, "export_tflite": answers["teach:wide"]}))

    assert found is not None
    assert (found.wrong, found.worst) == (0, ())
    assert "the worst answers" not in to_markdown(report(mistakes=found))


def test_a_task_that_tells_of_none_has_none(tmp_path: Path, answers: Any) -> None:
    assert mistakes(made(tmp_path, Bars(), answers)) is None


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (lambda outputs, _: [(0.0, "a", "b")] * (len(outputs) - 1), "for each of the 40 test samples, .*; found 39 of"),
        (lambda outputs, _: [(-1.0, "a", "b")] * len(outputs), r"0 where nothing is wrong; found 40 .*-1\.0"),
        (lambda outputs, _: [(math.nan, "a", "b")] * len(outputs), r"found 40 of them, \[\(nan"),
        (lambda outputs, _: [(0.0, "a")] * len(outputs), "mistakes raised ValueError: not enough values"),
        (lambda _, targets: targets.nothing, "mistakes raised AttributeError"),
    ],
)
def test_what_is_no_list_of_mistakes_is_one_line(tmp_path: Path, answers: Any, told: Told, said: str) -> None:
    with pytest.raises(TaskError, match=said) as error:
        mistakes(made(tmp_path, Telling(told), answers))

    assert "\n" not in str(error.value)


def test_what_a_sample_is_stays_text_in_markdown() -> None:
    what = "<img src=x>![seen](http://example.com/x.png) a | b"
    text = to_markdown(
        report(mistakes=Mistakes(forms=("int8",), wrong=1, worst=(Mistake(sample=3, what=what, said=("&",)),)))
    )

    [line] = [line for line in text.splitlines() if line.startswith("| 3 |")]
    assert line == "| 3 | &lt;img src=x&gt;![seen]\\(http://example.com/x.png) a \\| b | &amp; |"
    assert "int8 is off in 1 of 1,250 test samples" in text
