"""Where data and teachers come from is said by the task, in lines that fit a model card, or not at all."""

from typing import Any

import pytest

from pipeline.errors import TaskError
from pipeline.provenance import KEYS, stated
from pipeline.task_file import load_task, wrap_task
from pipeline.tasks.embeddings import Embeddings
from pipeline.tasks.keywords import Keywords
from pipeline.tasks.solar_cells import SolarCells
from pipeline.tasks.tweets import Tweets
from tests.small_task import Bars, bars

BUILT_IN = ("digits", "digits_ctc", "embeddings", "keywords", "solar_cells", "tweets")


class Told(Bars):
    """Bars with a provenance."""

    def __init__(self, provenance: Any) -> None:
        super().__init__()
        self.provenance = provenance


def test_a_task_that_says_nothing_states_nothing() -> None:
    assert stated(bars().raw) == {}


def test_what_is_said_is_kept() -> None:
    told = dict.fromkeys(KEYS, "a line")

    assert stated(wrap_task(Told(told)).raw) == told


@pytest.mark.parametrize(
    "found",
    [None, "MIT", ["MIT"], {"license": "MIT"}, {"data": ""}, {"data": 3}, {"data": "two\nlines"}, {"data": "a" * 501}],
)
def test_anything_else_is_refused_before_the_work_begins(found: Any) -> None:
    with pytest.raises(TaskError, match="provenance") as caught:
        wrap_task(Told(found))
    assert "\n" not in str(caught.value)


def test_a_near_miss_is_told() -> None:
    with pytest.raises(TaskError, match="did you mean 'licence'"):
        wrap_task(Told({"license": "MIT"}))


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_built_in_tasks_say_where_their_data_come_from(name: str, tmp_path: Any) -> None:
    task = load_task(f"pipeline.tasks.{name}:task", relative_to=tmp_path)

    assert {"data", "teacher"} <= stated(task.raw).keys()


@pytest.mark.parametrize("kind", [Embeddings, Keywords, SolarCells, Tweets])
def test_data_of_the_users_own_get_no_licence_of_ours(kind: Any, tmp_path: Any) -> None:
    told = stated(kind(tmp_path))

    assert told["data"].endswith("of the user's own")
    assert "data_licence" not in told
